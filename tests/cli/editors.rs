//! What the TOML editors taplo and tombi make of our schema: every example is clean in both, and the
//! corpus of bad files gets the verdict that `check` has, wherever a schema can know it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::case::Case;
use crate::experiments::{corpus, corpus_folder, diagnostics};

/// The editors' command lines, from npm and PyPI, of these versions.
const TAPLO: &str = "@taplo/cli@0.7.0";
const TOMBI: &str = "tombi==1.9.6";

/// What `check` refuses and taplo cannot: to JSON Schema `4.0` is an integer and a date a text, and a file
/// without a word names no schema.
const TAPLO_CANNOT_KNOW: [&str; 3] =
    ["type_integer_with_point.toml", "type_date_for_text.toml", "missing_everything.toml"];
/// The same of tombi, which has TOML's types.
const TOMBI_CANNOT_KNOW: [&str; 1] = ["missing_everything.toml"];

/// Codes of messages that follow from the text and the schema alone.
const OF_THE_SCHEMA: [&str; 10] = [
    "ST1000", "ST1001", "ST1002", "ST1003", "ST1005", "ST1313", "ST2001", "ST2002", "ST2003",
    "ST2101",
];

/// The paths of the two programs, or why a program is missing.
struct Editors {
    taplo: Result<PathBuf, String>,
    tombi: Result<PathBuf, String>,
}

/// Installs both into a folder of the build, once.
fn editors() -> &'static Editors {
    static EDITORS: OnceLock<Editors> = OnceLock::new();
    EDITORS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("editors");
        fs::create_dir_all(&folder).expect("a folder of the build");
        let npm = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        let mut taplo = Command::new("npm");
        taplo.args(npm).arg(&folder).arg(TAPLO);
        let mut tombi = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/pip.sh"));
        tombi.arg(&folder).args(["--quiet", TOMBI]);
        Editors {
            taplo: install(&mut taplo, folder.join("node_modules/.bin/taplo")),
            tombi: install(&mut tombi, folder.join("bin/tombi")),
        }
    })
}

/// The program, installed by `command` unless it already exists.
fn install(command: &mut Command, program: PathBuf) -> Result<PathBuf, String> {
    if !program.exists() {
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    Ok(program)
}

/// The program, or `None` after a line that says why there is none.
fn found(program: &Result<PathBuf, String>) -> Option<&PathBuf> {
    program.as_ref().map_err(|reason| println!("skipped: {reason}")).ok()
}

/// A folder with our schema and copies of folders of the repository, at the same relative paths.
fn laid_out(folders: &[&Path]) -> tempfile::TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = tempfile::tempdir().expect("a temporary folder");
    let schemas = root.join("schemas");
    for folder in folders.iter().copied().chain([&*schemas]) {
        let relative = folder.strip_prefix(root).expect("a folder of the repository");
        let target = copy.path().join(relative);
        fs::create_dir_all(&target).expect("a folder");
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_wanted =
                ["toml", "json"].iter().any(|end| path.extension().is_some_and(|e| e == *end));
            if is_wanted {
                let name = path.file_name().expect("a file");
                fs::copy(&path, target.join(name)).expect("a copy");
            }
        }
    }
    copy
}

/// The names of the files in `folder` that a linter refuses; both name them in what they print.
fn refused(command: &mut Command, root: &Path, folder: &str) -> BTreeSet<String> {
    let output =
        command.current_dir(root).env("NO_COLOR", "1").output().expect("the program starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let name =
        regex::Regex::new(&format!(r"{folder}/([\w.-]+\.toml)")).expect("a valid expression");
    name.captures_iter(&text).map(|found| found[1].to_owned()).collect()
}

fn taplo(program: &Path, root: &Path, folder: &str) -> BTreeSet<String> {
    let mut command = Command::new(program);
    command.args(["lint", "--colors", "never", &format!("{folder}/*.toml")]);
    refused(&mut command, root, folder)
}

fn tombi(program: &Path, root: &Path, folder: &str) -> BTreeSet<String> {
    let mut command = Command::new(program);
    command.args(["lint", "--offline", folder]);
    refused(&mut command, root, folder)
}

/// A file that leaves to the one that it extends what a file must say, with profiles that say even less.
const CHILD: &str = "\
#:schema ../schemas/experiment.schema.json
extends = \"emoji-state.toml\"

[schedule]
lr_final = 0.1

[profile.wide.peft]
init = \"zeros\"

[profile.short.train]
epoch_count = 1

[profile.adapter]
name = \"emoji-lora\"
peft = { type = \"lora\", rank = 8 }
quant = { type = \"nf4\" }
schedule = { lr_init = 1e-4, lr_final = 1e-5 }

[profile.double.quant]
double = true
";
/// A file that leaves the method and its rates to a recipe.
const BY_RECIPE: &str = "\
#:schema ../schemas/experiment.schema.json
name = \"emoji-state\"
recipe = \"state\"

[data]
data_file = \"../data/emoji-qa.jsonl\"

[model]
load_model = \"../models/tiny-chat.pth\"

[schedule]
warmup_steps = 5
";

#[test]
fn every_example_is_clean_in_both() {
    let root = laid_out(&[&Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")]);
    for (name, text) in [("child.toml", CHILD), ("by_recipe.toml", BY_RECIPE)] {
        fs::write(root.path().join("configs").join(name), text).expect("written");
    }
    let none = BTreeSet::new();
    // A fault shows that they look at all.
    let bad = fs::read_to_string(root.path().join("configs/emoji-state.toml")).expect("an example");
    fs::write(root.path().join("configs/bad.toml"), bad.replace("ctx_len", "ctx_length"))
        .expect("written");
    for (program, lint) in [
        (&editors().taplo, taplo as fn(&Path, &Path, &str) -> BTreeSet<String>),
        (&editors().tombi, tombi),
    ] {
        let Some(program) = found(program) else { continue };
        let mut refused = lint(program, root.path(), "configs");
        assert!(refused.remove("bad.toml"), "{} looks at nothing", program.display());
        assert_eq!(refused, none, "{}", program.display());
    }
}

#[test]
fn the_corpus_has_the_same_verdict_in_both() {
    let names = corpus();
    let case = names.iter().fold(Case::new(), |case, name| {
        case.having(name, fs::read(corpus_folder().join(name)).expect("a file of the corpus"))
    });
    let told = diagnostics(&case, &names);
    let of_the_schema = |name: &&String| {
        let found = told.get(*name).map(Vec::as_slice).unwrap_or_default();
        found.iter().any(|one| OF_THE_SCHEMA.iter().any(|code| one["code"] == *code))
    };
    let ours: BTreeSet<String> = names.iter().filter(of_the_schema).cloned().collect();
    let root = laid_out(&[&corpus_folder()]);
    let folder = "tests/data/experiments";
    let without = |unknown: &[&str]| -> BTreeSet<String> {
        ours.iter().filter(|name| !unknown.contains(&&***name)).cloned().collect()
    };
    if let Some(program) = found(&editors().taplo) {
        assert_eq!(taplo(program, root.path(), folder), without(&TAPLO_CANNOT_KNOW), "taplo");
    }
    if let Some(program) = found(&editors().tombi) {
        assert_eq!(tombi(program, root.path(), folder), without(&TOMBI_CANNOT_KNOW), "tombi");
    }
}

/// taplo names the key that a type does not have, and a word that names no type, at their places.
#[test]
fn taplo_names_the_key_of_a_tagged_table() {
    let Some(program) = found(&editors().taplo) else { return };
    let root = laid_out(&[&Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")]);
    let example = fs::read_to_string(root.path().join("configs/emoji-state.toml")).expect("there");
    let file = root.path().join("configs/bad.toml");
    for (old, new, message) in [
        (
            "type = \"state\" ",
            "rank = 8\ntype = \"state\" ",
            "Additional properties are not allowed ('rank' was unexpected)",
        ),
        ("type = \"state\" ", "type = \"adapter\" ", "\"adapter\" is not one of [\"state\","),
        ("type = \"adam\"", "type = \"adamw\"", "\"adamw\" is not one of [\"adam\"]"),
    ] {
        assert_eq!(example.matches(old).count(), 1, "{old}");
        fs::write(&file, example.replace(old, new)).expect("written");
        let mut command = Command::new(program);
        command.args(["lint", "--colors", "never", "configs/bad.toml"]).current_dir(root.path());
        let output = command.output().expect("the program starts");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(text.contains(message), "{text}");
        assert!(!text.contains("oneOf"), "{text}");
    }
}
