//! `statetune --help` by what a person is doing, and the commands meant by words of other programs.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _, Error, FromArgMatches as _};
use statetune_core::config::nearest_word;

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

/// Words of other programs, each with the command that does the same here.
const MEANT: [(&[&str], &str); 13] = [
    (&["train", "finetune", "tune", "fit", "sft", "start", "launch"], "run FILE"),
    (&["resumefrom", "continue", "restart", "restore"], "resume RUN"),
    (&["new", "create", "setup"], "init"),
    (&["validate", "lint", "verifyconfig"], "check FILE"),
    (&["tokenize", "preprocess", "prepare"], "data prepare FILE"),
    (&["evaluate", "test", "benchmark"], "eval RUN"),
    (&["infer", "inference", "predict", "sample", "complete", "ask"], "generate RUN --prompt TEXT"),
    (&["convert", "save"], "export RUN"),
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
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments).map_err(explained)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The error with the command that was meant, if there is one.
fn explained(error: Error) -> Error {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.clone()),
        _ => None,
    };
    let (what, word) = match error.kind() {
        ErrorKind::InvalidSubcommand => ("subcommand", word(ContextKind::InvalidSubcommand)),
        ErrorKind::UnknownArgument => ("argument", word(ContextKind::InvalidArg)),
        _ => return error,
    };
    let meant = word.as_deref().and_then(|word| match what {
        "subcommand" => meant(word).or_else(|| similar(word)),
        _ => meant(word),
    });
    match (word, meant) {
        (Some(word), Some(meant)) => {
            let text = format!("unrecognized {what} '{word}'\n\n  tip: use `statetune {meant}`");
            command().error(error.kind(), text)
        }
        _ => error,
    }
}

/// The command that a word of another program means.
fn meant(word: &str) -> Option<&'static str> {
    let word: String = word.to_lowercase().replace(['-', '_', ' '], "");
    MEANT.iter().find(|(words, _)| words.contains(&&*word)).map(|(_, meant)| *meant)
}

/// The command with a similar name.
fn similar(word: &str) -> Option<&'static str> {
    let names = || GROUPS.iter().flat_map(|(_, names)| names.iter().copied());
    let near = nearest_word(word, names())?;
    names().find(|name| *name == near)
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
        assert_eq!(similar("rnu"), Some("run"));
        let tip = |arguments: &[&str]| {
            let arguments = arguments.iter().map(OsString::from);
            parse(arguments).expect_err("refused").to_string()
        };
        let text = tip(&["statetune", "train", "a.toml"]);
        assert!(text.contains("\n  tip: use `statetune run FILE`\n"), "{text}");
        for (words, command) in MEANT {
            let name = command.split(' ').next().expect("a word");
            assert!(Cli::command().find_subcommand(name).is_some(), "{words:?}");
        }
    }
}
