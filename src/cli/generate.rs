//! `statetune generate`.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::Purpose;
use statetune_core::shell::shell_word;
use statetune_engine::RunError;
use statetune_engine::inference::{GenerateOptions, Session};

use super::output::say_piece;
use super::subject::{Found, Part, SampleArgs, SubjectArgs, check, fail, tell_parts};
use super::{Color, Format, say, show};

/// Name and version of the JSON output.
const SCHEMA: &str = "statetune.generate/1";

#[derive(Args, Debug)]
pub(super) struct GenerateArgs {
    /// A run (`latest`, a name, an id or a path), or a state or adapter file for `--model`; two answer one after the
    /// other.
    #[arg(value_name = "RUN|STATE", num_args = 0..=2)]
    names: Vec<String>,
    /// Text to continue.
    #[arg(long, short, value_name = "TEXT", default_value = "How are you today?", value_parser = NonEmptyStringValueParser::new())]
    prompt: String,
    /// Use the prompt as given, without the roles of the template.
    #[arg(long, conflicts_with = "think")]
    raw: bool,
    /// Use the base model, without the trained parameters.
    #[arg(long, conflicts_with = "state")]
    base: bool,
    /// Start from this state file, `.pth` or `.st`.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    sample: SampleArgs,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

pub(super) fn generate(args: &GenerateArgs, color: Color) -> ExitCode {
    if let Some(text) = args.names.iter().find(|name| is_text(name)) {
        let fault = Diagnostic::error(msg!(NOT_A_RUN_BUT_TEXT, text = shell_word(text)));
        let given = given_but(text, args.names.len() < 2);
        show(&fault.help(msg!(TEXT_IS_PROMPT, given, text)), color);
        return ExitCode::Invalid;
    }
    let part = match &args.state {
        Some(file) => Part::State(file.clone()),
        None if args.base => Part::Base,
        None => Part::Tuned,
    };
    let names: Vec<Option<&str>> = match &*args.names {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    let asked: Result<Vec<_>, ExitCode> =
        names.into_iter().map(|name| ask(args, name, part.clone(), color)).collect();
    let asked = match asked {
        Ok(asked) => asked,
        Err(code) => return code,
    };
    for (found, prompt) in &asked {
        if let Err(error) = answer(args, found, prompt, asked.len() > 1, color) {
            return fail(&error, color);
        }
    }
    ExitCode::Ok
}

/// The words of this process's command without `text`, and with a run where it names none, as words of a shell.
fn given_but(text: &str, add_run: bool) -> String {
    let words = std::env::args().skip(1).filter(|word| word != text);
    let words = words.map(|word| shell_word(&word)).chain(add_run.then(|| "latest".to_owned()));
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a name can only be a text to continue.
fn is_text(name: &str) -> bool {
    name.contains(char::is_whitespace) && !Path::new(name).exists()
}

/// Finds the models and the text to continue. Shows the error.
fn ask(
    args: &GenerateArgs,
    name: Option<&str>,
    part: Part,
    color: Color,
) -> Result<(Found, String), ExitCode> {
    let found = args.subject.find(name, part, Purpose::Generate, color)?;
    if args.raw {
        return Ok((found, args.prompt.clone()));
    }
    let template = &found.subject.template;
    if let Err(refusal) = args.sample.check_thinking(template) {
        show(&refusal, color);
        return Err(ExitCode::Invalid);
    }
    match args.sample.prompt(template, args.prompt.trim()) {
        Ok(prompt) => Ok((found, prompt)),
        Err(error) => {
            let fault = Diagnostic::error(msg!(CANNOT_ASK_THIS, error = error.text()))
                .help(msg!(RAW_TAKES_PROMPT_AS_IS));
            show(&fault, color);
            Err(ExitCode::Invalid)
        }
    }
}

/// Prints an answer after the name of its model; streams the text unless the output is JSON.
fn answer(
    args: &GenerateArgs,
    found: &Found,
    prompt: &str,
    with_name: bool,
    color: Color,
) -> Result<(), RunError> {
    // The exported files of a run belong to its weights.
    let is_foreign = found.run.is_none() || args.subject.has_model() || args.state.is_some();
    if is_foreign {
        check(&found.subject, color)?;
    }
    let template = &found.subject.template;
    let options: GenerateOptions = args.sample.options(found.plan(), template);
    let loaded = found.subject.load()?;
    tell_parts(&found.subject, &loaded.model);
    let mut session = Session::new(&loaded.model, &loaded.state, &loaded.tokenizer, &options);
    let human = args.format == Format::Human;
    if human && with_name {
        say_piece(&format!("{}: ", found.subject.name));
    }
    if human {
        say_piece(shown_tag(prompt));
    }
    let answer = session.answer(prompt, &mut |piece| {
        if human {
            say_piece(piece);
        }
    })?;
    match args.format {
        Format::Human => say(""),
        Format::Json => {
            let reply = template.reply(prompt, &answer.text);
            let mut object = json!({
                "schema": SCHEMA,
                "name": found.subject.name,
                "prompt": prompt,
                "answer": reply.answer,
                "tokens": answer.tokens,
                "ending": answer.stop_reason.name(),
                "seed": options.seed,
            });
            if let Some(thinking) = reply.thinking {
                object["thinking"] = thinking.into();
            }
            say(object);
        }
    }
    Ok(())
}

/// The tag at the end of a prompt that asks for reasoning, so that the printed reasoning begins with its tag.
pub(super) fn shown_tag(prompt: &str) -> &'static str {
    if prompt.ends_with("<think") { "<think" } else { "" }
}
