//! `statetune --help` by what a person is doing, and the commands meant by words of other programs.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory as _, Error, FromArgMatches as _};
use statetune_core::config::{nearest_word, option_meant};
use statetune_core::shell::shell_assignment;

use super::Cli;

/// The commands by what a person is doing.
const GROUPS: [(&str, &[&str]); 7] = [
    ("Write", &["init", "import", "check", "config", "explain", "schema", "presets"]),
    ("Data", &["data"]),
    ("Know", &["plan", "doctor"]),
    ("Train", &["run", "resume", "sweep", "watch", "ctl", "incident"]),
    ("Compare", &["runs", "diff", "report", "verify"]),
    ("Use", &["eval", "generate", "chat", "score", "merge", "export", "mount", "state"]),
    ("Tool", &["cache", "completions", "man", "version", "help"]),
];

/// The command that continues a run.
const RESUME: &str = "resume RUN";

/// Words of other programs, each with the command that does the same here.
const MEANT: [(&[&str], &str); 13] = [
    (&["train", "finetune", "tune", "fit", "sft", "start", "launch"], "run FILE"),
    (&["resumefrom", "continue", "restart", "restore"], RESUME),
    (&["new", "create", "setup"], "init"),
    (&["validate", "lint", "verifyconfig"], "check FILE"),
    (&["tokenize", "preprocess", "prepare"], "data prepare FILE"),
    (&["evaluate", "test", "benchmark"], "eval RUN"),
    (&["infer", "inference", "predict", "sample", "complete", "ask"], "generate RUN --prompt TEXT"),
    (&["convert", "save"], "export RUN --to FORM"),
    (&["list", "ls", "ps"], "runs ls"),
    (&["compare"], "diff RUN RUN"),
    (&["status", "log", "logs", "tail", "top", "monitor", "progress"], "watch"),
    (&["stop", "kill", "cancel", "pause"], "ctl RUN stop"),
    (&["estimate", "dryrun", "memory"], "plan FILE"),
];

/// The command line with its commands in groups.
pub(super) fn command() -> Command {
    let command = Cli::command();
    let groups: String =
        GROUPS.iter().map(|(title, names)| group(&command, title, names)).collect();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{groups}\nOptions:\n{{options}}\n"
    );
    command.help_template(template)
}

fn group(command: &Command, title: &str, names: &[&str]) -> String {
    let line = |name: &&str| {
        let about = match command.find_subcommand(name) {
            Some(known) => known.get_about().map(ToString::to_string).unwrap_or_default(),
            None => "Print this help or that of a command".to_owned(),
        };
        format!("  {name:12} {about}\n")
    };
    format!("\n{title}\n{}", names.iter().map(line).collect::<String>())
}

/// Parses the arguments of a process.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut command = command();
    let matches = match command.try_get_matches_from_mut(&arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
            return explained(error, &words.collect::<Vec<_>>());
        }
    };
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The error with what was meant, if that is known. A negative number after an option is parsed as its value.
fn explained(error: Error, words: &[String]) -> Result<Cli, Error> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.clone()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => match word(ContextKind::InvalidSubcommand) {
            Some(word) => Err(unknown_command(error, &word, words)),
            None => Err(error),
        },
        ErrorKind::UnknownArgument => match word(ContextKind::InvalidArg) {
            Some(word) => match with_negative_number(&word, words) {
                Some(joined) => parse(joined.into_iter().map(OsString::from)),
                None => Err(unknown_argument(error, &word, words)),
            },
            None => Err(error),
        },
        _ => Err(error),
    }
}

/// The words with the negative number `word` joined to the option before it; `None` where there is no such option.
fn with_negative_number(word: &str, words: &[String]) -> Option<Vec<String>> {
    let digits = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'))?;
    let at = words.iter().position(|other| other.starts_with('-') && other.ends_with(digits))?;
    let number = words[at].parse::<f64>().ok().map(|_| &words[at])?;
    let option = &words[at.checked_sub(1)?];
    let is_option = option.starts_with("--") && option.len() > 2 && !option.contains('=');
    is_option.then(|| {
        let joined = format!("{option}={number}");
        [&words[..at - 1], &[joined], &words[at + 1..]].concat()
    })
}

/// The command that the words name, and its name with those of its parents.
fn level<'a>(root: &'a Command, words: &[String]) -> (&'a Command, String) {
    let (mut command, mut name) = (root, root.get_name().to_owned());
    for word in words.iter().skip(1) {
        if let Some(below) = command.find_subcommand(word) {
            command = below;
            name = format!("{name} {}", below.get_name());
        }
    }
    (command, name)
}

/// The error of an unknown command, with the one that was meant: a command beside it with a similar name, or the one
/// that does what the word means in other programs.
fn unknown_command(error: Error, word: &str, words: &[String]) -> Error {
    let root = command();
    let (group, name) = level(&root, words);
    let names = group.get_subcommands().map(Command::get_name);
    let near = nearest_word(word, names.chain(["help"])).map(|near| format!("{name} {near}"));
    let known = meant(word).map(|meant| format!("statetune {meant}"));
    let found = if group.get_name() == root.get_name() { known.or(near) } else { near.or(known) };
    match found {
        Some(found) => {
            let text = format!("unrecognized subcommand '{word}'\n\n  tip: use `{found}`");
            command().error(error.kind(), text)
        }
        None => with_tip(error, None),
    }
}

/// The error of an unknown option or a superfluous word, with what was meant.
fn unknown_argument(mut error: Error, word: &str, words: &[String]) -> Error {
    let root = command();
    let (command, name) = level(&root, words);
    let options: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_hide_set()).collect();
    let known: Vec<&str> = options.iter().filter_map(|arg| arg.get_long()).collect();
    let near = nearest_word(word.trim_start_matches('-'), known.iter().copied());
    let is_similar = |option: &str| near.as_deref() == Some(option.trim_start_matches('-'));
    let suggested = match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(option)) => is_similar(option.split(' ').next().unwrap_or("")),
        _ => false,
    };
    if !suggested {
        error.remove(ContextKind::SuggestedArg);
    }
    let tip = match value_without_key(word, words) {
        Some(setting) => Some(format!("write the setting with `=`: `--set {setting}`")),
        None if is_experiment(word) => {
            Some(format!("the experiment file needs no option: `{name} FILE`"))
        }
        None if meant(word) == Some(RESUME) => Some(format!("use `statetune {RESUME}`")),
        None if known.contains(&"set") && word.starts_with("--") => {
            option_meant(word, value_of(word, words)).map(|tip| tip.said())
        }
        None => None,
    };
    with_tip(error, tip)
}

/// The error with this tip alone.
fn with_tip(mut error: Error, tip: Option<String>) -> Error {
    error.remove(ContextKind::Suggested);
    if let Some(tip) = tip {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// `KEY=VALUE` for the value `word` that follows `--set KEY`.
fn value_without_key(word: &str, words: &[String]) -> Option<String> {
    let at = words.iter().position(|other| other == word)?;
    let (set, key) = (words.get(at.checked_sub(2)?)?, &words[at - 1]);
    (set == "--set" && !key.contains('=')).then(|| shell_assignment(key, word))
}

/// The value that the words give the option `word`, if any.
fn value_of<'a>(word: &str, words: &'a [String]) -> Option<&'a str> {
    let at = words.iter().position(|other| other.split('=').next() == Some(word))?;
    if let Some((_, value)) = words[at].split_once('=') {
        return Some(value);
    }
    let next = words.get(at + 1)?;
    (!next.starts_with("--") && !next.ends_with(".toml")).then_some(next)
}

/// Whether an option names the experiment file in other programs.
fn is_experiment(option: &str) -> bool {
    let plain = option.to_lowercase().replace(['-', '_'], "");
    ["config", "configfile", "cfg", "experiment"].contains(&&*plain)
}

/// The command that a word of another program means.
fn meant(word: &str) -> Option<&'static str> {
    let word: String = word.to_lowercase().replace(['-', '_', ' '], "");
    MEANT.iter().find(|(words, _)| words.contains(&&*word)).map(|(_, meant)| *meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.to_vec()).collect();
        let command = Cli::command();
        let mut all: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        all.push("help");
        all.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, all);
    }

    #[test]
    fn words_of_other_programs_name_our_commands() {
        for (word, expected) in [
            ("train", Some("run FILE")),
            ("fine-tune", Some("run FILE")),
            ("resume-from", Some("resume RUN")),
            ("--resume_from", Some("resume RUN")),
            ("frobnicate", None),
        ] {
            assert_eq!(meant(word), expected, "{word}");
        }
        let tip = |arguments: &[&str]| {
            let arguments = arguments.iter().map(OsString::from);
            parse(arguments).expect_err("refused").to_string()
        };
        for (line, expected) in [
            ("train a.toml", "use `statetune run FILE`"),
            ("rnu a.toml", "use `statetune run`"),
            ("data chek a.toml", "use `statetune data check`"),
            ("data tokenize a.toml", "use `statetune data prepare FILE`"),
            ("run a.toml --epochs 3", "set the key: `--set train.epoch_count=3`"),
            ("run a.toml --lr=1e-4", "set the key: `--set schedule.lr_init=1e-4`"),
            ("run --micro_bsz 4 a.toml", "set the key: `--set train.micro_bsz=4`"),
            ("run a.toml --device cuda", "set the key: `--set hardware.accelerator=gpu`"),
            ("run a.toml --gpu", "set the key: `--set hardware.accelerator=gpu`"),
            ("run a.toml --gradient_checkpointing", "set the key: `--set train.grad_cp=true`"),
            ("run a.toml --data x.jsonl", "set the key: `--set data.data_file=x.jsonl`"),
            ("run --config a.toml", "the experiment file needs no option: `statetune run FILE`"),
            (
                "run a.toml --set train.micro_bsz 4",
                "write the setting with `=`: `--set train.micro_bsz=4`",
            ),
            ("run a.toml --resume_from x", "use `statetune resume RUN`"),
            (
                "run a.toml --deepspeed",
                "`deepspeed`: `hardware.devices` is the number of processes that share a step; each holds the whole model",
            ),
        ] {
            let words: Vec<&str> = ["statetune"].into_iter().chain(line.split(' ')).collect();
            let text = tip(&words);
            assert!(text.contains(&format!("\n  tip: {expected}\n")), "{line}: {text}");
            assert_eq!(text.matches("tip:").count(), 1, "{line}: {text}");
        }
        for line in ["sweep a.toml --progress none", "run a.toml -smoke", "run a.toml -v"] {
            let words: Vec<&str> = ["statetune"].into_iter().chain(line.split(' ')).collect();
            assert!(!tip(&words).contains("tip:"), "{line}: {}", tip(&words));
        }
        let text = tip(&["statetune", "generate", "latest", "--temperature", "-1"]);
        assert!(text.contains("must be at least 0"), "{text}");
        for (words, command) in MEANT {
            let name = command.split(' ').next().expect("a word");
            assert!(Cli::command().find_subcommand(name).is_some(), "{words:?}");
        }
    }
}
