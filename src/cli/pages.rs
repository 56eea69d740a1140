//! The generated pages of `docs/`: commands from the command line definition, exit codes and message codes from their
//! texts. The tests below compare each page; `STATETUNE_BLESS=1 cargo test` rewrites the pages.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _, ValueEnum as _};
use statetune_core::diagnostic::codes;
use statetune_core::exit::ExitCode;
use statetune_core::lang::Lang;

use super::Cli;

/// Families of message codes: prefix and subject.
const FAMILIES: &[(&str, &str)] = &[
    ("ST0", "Commands and files"),
    ("ST1", "Keys of the experiment file"),
    ("ST2", "Values of the experiment file"),
    ("ST3", "Data"),
    ("ST4", "Models"),
    ("ST5", "Memory and devices"),
    ("ST6", "Runs"),
    ("ST7", "Training"),
    ("ST8", "States, adapters and merged models"),
    ("ST9", "Internal errors"),
];

/// `docs/commands.md`: every command with its arguments, options and their values.
fn commands() -> String {
    let mut root = Cli::command();
    root.build();
    let mut page = "# Commands\n\n<!-- Generated from the command line's definition; a test compares it. -->\n".to_owned();
    page.push_str(
        "\n`statetune COMMAND --help` prints the same. These options apply to every command:\n\n",
    );
    let global = root.get_arguments().filter(|arg| arg.is_global_set());
    page.push_str(&table("option", global));
    for command in root.get_subcommands() {
        write_command(&mut page, command);
    }
    page
}

fn write_command(page: &mut String, command: &Command) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let mut owned = command.clone();
    let usage = owned.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let name = owned.get_bin_name().unwrap_or_default();
    let level = "#".repeat(name.split(' ').count().min(6));
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string);
    let about = about.unwrap_or_default();
    let stop = if about.ends_with(['.', ':']) { "" } else { "." };
    let _ = write!(page, "\n{level} `{name}`\n\n{about}{stop}\n\n```text\n{usage}\n```\n");
    let arguments = command.get_positionals().filter(|arg| !arg.is_hide_set());
    let options = command.get_arguments().filter(|arg| {
        let is_common = arg.is_global_set() || ["help", "version"].contains(&arg.get_id().as_str());
        !(arg.is_positional() || arg.is_hide_set() || is_common)
    });
    for rows in [table("argument", arguments), table("option", options)] {
        if !rows.is_empty() {
            let _ = write!(page, "\n{rows}");
        }
    }
    for inner in command.get_subcommands() {
        write_command(page, inner);
    }
}

/// A table of arguments; empty without arguments.
fn table<'a>(title: &str, args: impl Iterator<Item = &'a Arg>) -> String {
    let rows: String = args.map(row).collect();
    if rows.is_empty() { rows } else { format!("| {title} | |\n| --- | --- |\n{rows}") }
}

fn row(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    // Some defaults are described in the help; clap knows the others.
    let (help, default) = match help.trim_end().split_once(" [default: ") {
        Some((help, default)) => (help, Some(default.trim_end_matches(['.', ']']).to_owned())),
        None => (help.trim_end(), None),
    };
    let takes_value = arg.get_action().takes_values();
    let known = arg.get_default_values().first().filter(|_| takes_value);
    let default = default.or_else(|| Some(format!("`{}`", known?.to_string_lossy())));
    let stop = if help.ends_with('.') { "" } else { "." };
    let mut about = format!("{help}{stop}");
    if let Some(default) = default {
        let _ = write!(about, " Default: {default}.");
    }
    let values =
        arg.get_possible_values().into_iter().filter(|one| takes_value && !one.is_hide_set());
    let values = values.map(|value| {
        let help = value.get_help().map(|help| format!(" ({})", lower_first(&help.to_string())));
        format!("`{}`{}", value.get_name(), help.unwrap_or_default())
    });
    let values: Vec<String> = values.collect();
    if !values.is_empty() {
        let _ = write!(about, " Values: {}.", values.join(", "));
    }
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    format!("| `{short}{}` | {} |\n", cell(&arg.to_string()), cell(&about))
}

/// A sentence as a clause: starts with a lower-case letter, unless the first word is a name such as `JSON` or
/// `PyTorch`.
fn lower_first(text: &str) -> String {
    let word = text.split(|one: char| !one.is_alphanumeric()).next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if word.chars().skip(1).all(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// A text escaped for one cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// `docs/exit-codes.md`.
fn exit_codes() -> String {
    let mut page =
        "# Exit codes\n\n<!-- Generated from the program's exit codes; a test compares it. -->\n\n"
            .to_owned();
    page.push_str("Every command exits with one of these codes. Scripts can rely on them.\n\n");
    page.push_str("| code | meaning |\n| --- | --- |\n");
    for code in ExitCode::value_variants() {
        let about =
            code.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        let _ = writeln!(page, "| {} | {} |", *code as i32, cell(&about.unwrap_or_default()));
    }
    page.push_str("| 129 | Stopped at once by a closed terminal after an earlier request to stop, or before anything was saved |\n");
    page.push_str("| 130 | Stopped at once by a second Ctrl-C, with the last checkpoint intact, or by Ctrl-C before anything was saved |\n");
    page.push_str("| 143 | Stopped at once by a second SIGTERM or after `--grace` seconds, with the last checkpoint intact, or by SIGTERM before anything was saved |\n");
    page
}

/// `docs/messages.md`: every message code with the text of `statetune explain`.
fn messages() -> String {
    let mut page = "# Message codes\n\n<!-- Generated from the texts of `statetune explain`; a test compares it. -->\n".to_owned();
    page.push_str(
        "\n`statetune explain CODE` prints the same text; `--lang zh` prints it in Chinese.\n",
    );
    for (family, about) in FAMILIES {
        let _ = write!(page, "\n## {about}: {family}xxx\n");
        for code in codes(Lang::En).filter(|code| code.code.starts_with(family)) {
            let _ = write!(page, "\n### {}: {}\n\n{}\n", code.code, code.title, code.text);
        }
    }
    page
}

/// Compares `docs/NAME` with what the program generates, or writes it.
#[track_caller]
fn compare(name: &str, page: &str) {
    // The project folder: the closest folder above this crate with a folder `docs`.
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let root = folders.find(|folder| folder.join("docs/tutorial.md").is_file());
    let file = root.expect("docs/tutorial.md exists").join("docs").join(name);
    if std::env::var_os("STATETUNE_BLESS").is_some_and(|value| value == "1") {
        fs::write(&file, page).expect("docs/ is writable");
    }
    let stored = fs::read_to_string(&file).unwrap_or_default();
    assert!(stored == page, "run the tests with STATETUNE_BLESS=1 to write {}", file.display());
}

#[test]
fn the_page_of_commands_is_current() {
    compare("commands.md", &commands());
}

#[test]
fn the_page_of_exit_codes_is_current() {
    compare("exit-codes.md", &exit_codes());
}

#[test]
fn the_page_of_messages_is_current_and_has_every_code() {
    let page = messages();
    for code in codes(Lang::En) {
        assert!(page.contains(&format!("### {}: ", code.code)), "{} has no family", code.code);
    }
    compare("messages.md", &page);
}
