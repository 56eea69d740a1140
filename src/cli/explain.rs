//! `statetune explain`.

use clap::Args;
use serde_json::{Value, json};
use statetune_core::config::{find_manual, key_meant, manual, nearest_word};
use statetune_core::diagnostic::{Code, Diagnostic, codes, msg};
use statetune_core::exit::ExitCode;
use statetune_core::lang::Lang;

use super::{Color, Format, say, show};

#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// A message code such as ST1204, or a key such as `schedule.lr_init`, `lr_init` or `train`.
    #[arg(value_name = "CODE|KEY", required_unless_present = "all")]
    name: Option<String>,
    /// Explain all codes and all keys.
    #[arg(long, conflicts_with = "name")]
    all: bool,
    /// Output format; `json` prints one object `statetune.explain/1`.
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
}

pub(super) fn explain(args: &ExplainArgs, color: Color) -> ExitCode {
    let lang = match args.format {
        Format::Human => Lang::spoken(),
        Format::Json => Lang::En,
    };
    let (codes, keys) = match &args.name {
        None => (codes(lang).collect(), manual()),
        Some(name) => {
            let wanted = name.to_uppercase();
            (codes(lang).filter(|one| one.code == wanted).collect::<Vec<_>>(), find_manual(name))
        }
    };
    if codes.is_empty() && keys.is_empty() {
        show(&nothing(args.name.as_deref().unwrap_or_default()), color);
        return ExitCode::Invalid;
    }
    match args.format {
        Format::Human => {
            let codes =
                codes.iter().map(|one| format!("{}: {}\n\n{}", one.code, one.title, one.text));
            let texts: Vec<String> = codes.chain(keys.iter().map(|one| one.render(lang))).collect();
            say(texts.join("\n\n"));
        }
        Format::Json => {
            let keys: Vec<Value> = keys.iter().map(|one| one.to_json()).collect();
            let codes: Vec<Value> = codes.iter().map(of_code).collect();
            let object = json!({ "schema": "statetune.explain/1", "codes": codes, "keys": keys });
            say(format_args!("{object:#}"));
        }
    }
    ExitCode::Ok
}

fn of_code(one: &Code) -> Value {
    json!({ "code": one.code, "title": one.title, "text": one.text })
}

/// The error for an unknown code or key.
fn nothing(name: &str) -> Diagnostic {
    let fault = Diagnostic::error(msg!(NO_CODE_OR_KEY, name));
    if let Some(key) = key_meant(name) {
        return fault.help(msg!(EXPLAIN_KEY_MEANT, key));
    }
    let known: Vec<String> = manual().into_iter().map(|one| one.key).collect();
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let last_words: Vec<String> = known.iter().map(|key| last(key)).collect();
    let wanted = last(name);
    match nearest_word(&wanted, last_words.iter().map(|word| &**word)) {
        Some(word) => fault.help(msg!(DID_YOU_MEAN_WORD, word)),
        None => fault.help(msg!(EXPLAIN_ALL)),
    }
}
