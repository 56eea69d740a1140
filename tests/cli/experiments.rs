//! `check` on a corpus of experiment files that something is wrong with, and the messages of the gallery
//! that need more than a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::case::{Case, Output, STATE};

/// The folder of the corpus, one fault or more in each file.
pub fn corpus_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/experiments")
}

/// The names of the corpus, sorted.
pub fn corpus() -> Vec<String> {
    let entries = fs::read_dir(corpus_folder()).expect("the corpus");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| name.ends_with(".toml"));
    names.sort();
    names
}

/// A case with the whole corpus in it.
pub fn case() -> Case {
    corpus().iter().fold(Case::new(), |case, name| {
        let text = fs::read(corpus_folder().join(name)).expect("a file of the corpus");
        case.having(name, text)
    })
}

/// Compares with the snapshot of this name; `INSTA_UPDATE=always` rewrites the snapshot.
#[track_caller]
pub fn compare(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(corpus_folder().join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Exit code, standard output and error of the program.
pub fn shown(output: &Output) -> String {
    let code = output.code.expect("an exit code");
    let parts = [&*output.stdout, &*output.stderr].map(str::trim_end);
    let parts = parts.iter().filter(|part| !part.is_empty());
    parts.fold(format!("exit code {code}"), |shown, part| format!("{shown}\n\n{part}"))
}

/// The lines that go and come from one text to the other, with `-` and `+`, in their order.
fn changes(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // common[i][j]: lines that old[i..] and new[j..] have in common, in this order.
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = match old[i] == new[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut changes) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && common[i + 1][j] >= common[i][j + 1] {
            changes += &format!("- {}\n", old[i]);
            i += 1;
        } else {
            changes += &format!("+ {}\n", new[j]);
            j += 1;
        }
    }
    changes
}

/// What `check --format json` says about files, by their names.
pub fn diagnostics(case: &Case, files: &[String]) -> BTreeMap<String, Vec<Value>> {
    let mut arguments = vec!["check", "--no-files", "--format", "json"];
    arguments.extend(files.iter().map(|file| &**file));
    let output = case.statetune(&arguments);
    let all: Vec<Value> = serde_json::from_str(&output.stdout).expect("a list of objects");
    let mut of_files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for one in all {
        let file = one["file"].as_str().expect("every message has a place").to_owned();
        of_files.entry(file).or_default().push(one);
    }
    of_files
}

/// Every file is refused, or warned about, with the messages that were agreed on, and `--fix` changes what
/// was agreed on. A second `--fix` changes nothing.
#[test]
fn the_corpus_is_told_about_as_agreed() {
    let case = case();
    assert!(corpus().len() >= 60);
    let told: Vec<String> = corpus()
        .iter()
        .map(|name| shown(&case.statetune(&["check", "--no-files", name])))
        .collect();
    let names = corpus();
    let mut arguments = vec!["check", "--no-files", "--fix"];
    arguments.extend(names.iter().map(|name| &**name));
    case.statetune(&arguments);
    let fixed: Vec<Vec<u8>> = names.iter().map(|name| read(&case, name)).collect();
    case.statetune(&arguments);
    for ((name, told), fixed) in names.iter().zip(told).zip(fixed) {
        assert!(fixed == read(&case, name), "the second --fix changed {name}");
        let old = fs::read_to_string(corpus_folder().join(name)).expect("UTF-8");
        let changed = changes(&old, &String::from_utf8(fixed).expect("UTF-8"));
        let text = match changed.is_empty() {
            true => told,
            false => format!("{told}\n\nfixed:\n{changed}"),
        };
        compare(name.trim_end_matches(".toml"), &text);
    }
}

fn read(case: &Case, name: &str) -> Vec<u8> {
    fs::read(case.path(name)).expect("a file")
}

/// Applying the fix of a message from the JSON object alone removes this message and no other. New messages appear
/// only when none is left, from the rules that are checked next.
#[test]
fn every_edit_removes_its_message() {
    let case = case();
    let mut fixed: Vec<(String, Vec<String>)> = Vec::new();
    for (file, found) in diagnostics(&case, &corpus()) {
        let text = String::from_utf8(read(&case, &file)).expect("UTF-8");
        for (index, one) in found.iter().enumerate() {
            let mut edits: Vec<&Value> = one["fix"].as_array().expect("a list").iter().collect();
            if edits.is_empty() {
                continue;
            }
            let at = |edit: &Value, key: &str| edit[key].as_u64().expect("a byte") as usize;
            edits.sort_by_key(|edit| std::cmp::Reverse(at(edit, "start")));
            let mut text = text.clone();
            for edit in edits {
                let range = at(edit, "start")..at(edit, "end");
                text.replace_range(range, edit["text"].as_str().expect("a text"));
            }
            let name = format!("fixed-{index}-{file}");
            case.write(&name, text);
            let mut others: Vec<String> = found.iter().map(message).collect();
            others.remove(index);
            fixed.push((name, others));
        }
    }
    assert!(fixed.len() > 30, "{}", fixed.len());
    let names: Vec<String> = fixed.iter().map(|(name, _)| name.clone()).collect();
    let mut left = diagnostics(&case, &names);
    for (name, others) in fixed {
        let left: Vec<String> =
            left.remove(&name).unwrap_or_default().iter().map(message).collect();
        assert!(others.is_empty() || left == others, "{name}: {left:#?}\n{others:#?}");
        let is_of_the_file =
            |message: &&String| message.starts_with("ST1") || message.starts_with("ST20");
        let new: Vec<_> =
            left.iter().filter(is_of_the_file).filter(|one| !others.contains(one)).collect();
        assert!(new.is_empty(), "{name}: {new:#?}");
    }
}

/// Code and message of an object.
fn message(one: &Value) -> String {
    format!(
        "{} {}",
        one["code"].as_str().expect("a code"),
        one["message"].as_str().expect("a text")
    )
}

#[test]
fn warnings_can_be_denied_chosen_and_left_out() {
    let case = case();
    let (rate, escape) = ("gallery_08_tiny_rate.toml", "gallery_07_escape_in_single_quotes.toml");
    let checked = |arguments: &[&str]| {
        let output = case.statetune(&[&["check", rate, escape], arguments].concat());
        let codes: Vec<&str> =
            output.stderr.lines().filter_map(|line| line.strip_prefix("warning[")).collect();
        let codes: Vec<String> = codes.iter().map(|line| line[..6].to_owned()).collect();
        (output.code.expect("a code"), codes.join(" "))
    };
    assert_eq!(checked(&[]), (0, "ST2301 ST1204".to_owned()));
    assert_eq!(checked(&["--deny", "warnings"]), (1, "ST2301 ST1204".to_owned()));
    assert_eq!(checked(&["--deny", "warnings", "--ignore", "ST23,ST1204"]), (0, String::new()));
    assert_eq!(checked(&["--deny", "warnings", "--select", "ST12"]), (1, "ST1204".to_owned()));
    let output = case.statetune(&["check", rate, "--select", "W12"]);
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.contains("a code is ST and up to four digits"), "{}", output.stderr);
    // Errors are always shown, and count before denied warnings.
    let bad = "gallery_01_misspelt_key.toml";
    let output = case.statetune(&["check", rate, bad, "--ignore", "ST", "--deny", "warnings"]);
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.contains("error[ST1001]"), "{}", output.stderr);
}

#[test]
fn fixes_are_counted_and_leave_the_rest() {
    let case = case();
    let output = case.statetune(&["check", "--fix", "many_faults.toml"]);
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.starts_with("many_faults.toml: 4 fixed\n"), "{}", output.stderr);
    let output = case.statetune(&["check", "--fix", "text_with_crlf.toml", "text_with_bom.toml"]);
    assert_eq!(output.stdout, "text_with_crlf.toml: valid\ntext_with_bom.toml: valid\n");
    let text = case.read("text_with_crlf.toml");
    assert!(text.contains("[schedule]\r\nwarmup_steps = 5   # few\r\nlr_init"), "{text:?}");
    assert!(case.read("text_with_bom.toml").starts_with('\u{feff}'));
}

#[test]
fn gallery_06_weights_of_another_shape() {
    let case = Case::new().with(STATE, "[model]\n", "[model]\nn_embd = 2048\n");
    compare("gallery_06_weights_of_another_shape", &shown(&case.statetune(&["run", STATE])));
}

#[test]
fn gallery_09_a_broken_line() {
    let case = Case::new();
    let data = case.read("data.jsonl");
    let broken = "{\"text\": \"User: What does \"ok\" mean?\\n\\nAssistant: 👌🙂\"}\n";
    case.write("data.jsonl", format!("{data}{broken}"));
    compare("gallery_09_broken_line", &shown(&case.statetune(&["run", STATE])));
}

#[test]
fn gallery_10_a_mask_that_selects_nothing() {
    let case = Case::new();
    case.write("data.jsonl", case.read("data.jsonl").replacen("Assistant:", "Bot:", 1));
    compare("gallery_10_mask_selects_nothing", &shown(&case.statetune(&["run", STATE])));
}

#[test]
fn gallery_15_a_bad_override() {
    let output = Case::new().statetune(&["check", STATE, "--set", "schedule.lr_final=fast"]);
    compare("gallery_15_bad_override", &shown(&output));
}

#[test]
fn gallery_16_steps_that_do_not_cover_the_data() {
    let case = Case::new().with(STATE, "epoch_count = 2", "epoch_count = 1");
    let output = case.statetune(&["run", STATE]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let warning = output.stderr.split("\n\n").find(|part| part.contains("ST2401"));
    compare("gallery_16_steps_do_not_cover", warning.expect("a warning").trim_start());
}
