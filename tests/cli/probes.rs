//! Probes that cannot be counted.

use crate::case::{Case, STATE};

/// The experiment with these tables before its last ones is refused.
#[track_caller]
fn refuses(tables: &str, message: &str) {
    Case::new().with(STATE, "[log]", &format!("{tables}\n[log]")).refuses(2, message);
}

const SEEN: &str = "[[sample.probe]]\nname = \"seen\"\n";
/// As `[sample]` is by default, written where tests say so.
const NO_QUESTIONS: &str = "[sample]\nheld_out = 0\n";

#[test]
fn an_undefined_probe() {
    refuses(
        &format!("[sample]\nheld_out = 2\n{SEEN}json = true\n[eval]\nmetric = \"sean\""),
        "\
error[ST2161]: unknown probe `sean`
  --> state.toml:34:10
   |
34 | metric = \"sean\"
   |          ^^^^^^
   |
   = help: choices are `val_loss`, `seen`",
    );
}

#[test]
fn a_probe_that_asks_for_nothing() {
    refuses(
        SEEN.trim_end(),
        "\
error[ST2162]: the probe `seen` has no condition
  --> state.toml:29:8
   |
29 | name = \"seen\"
   |        ^^^^^^
   |
   = note: every answer would match
   = help: set `regex`, `json = true`, `min_chars` or `max_chars`",
    );
}

#[test]
fn names_that_are_taken() {
    refuses(
        &format!("{SEEN}json = true\n{SEEN}json = true"),
        "\
error[ST2163]: the probe name `seen` is used twice
  --> state.toml:32:8
   |
32 | name = \"seen\"
   |        ^^^^^^
   |
   = help: records and `eval.metric` identify probes by name",
    );
    refuses(
        "[[sample.probe]]\nname = \"val_loss\"\njson = true",
        "\
error[ST2163]: the probe name `val_loss` is used twice
  --> state.toml:29:8
   |
29 | name = \"val_loss\"
   |        ^^^^^^^^^^
   |
   = help: records and `eval.metric` identify probes by name",
    );
}

#[test]
fn lengths_that_no_answer_has() {
    refuses(
        &format!("{SEEN}min_chars = 5\nmax_chars = 4"),
        "\
error[ST2164]: no answer has at least 5 and at most 4 characters
  --> state.toml:30:13
   |
30 | min_chars = 5
   |             ^",
    );
}

#[test]
fn a_goal_that_no_answer_is_asked_for() {
    let unasked = |line: &str| {
        let (key, value) = line.split_once(" = ").expect("a value");
        let mark = "^".repeat(value.len());
        let column = key.len() + 4;
        let space = " ".repeat(column - 1);
        format!(
            "\
error[ST2165]: `sample.held_out` is 0 and `sample.prompts` is empty, so this probe has no answers to check
  --> state.toml:34:{column}
   |
34 | {line}
   | {space}{mark}
   |
   = help: set `sample.held_out` or `sample.prompts`"
        )
    };
    refuses(
        &format!("{NO_QUESTIONS}{SEEN}json = true\ngoal = 0.9\nstop = true"),
        &unasked("stop = true"),
    );
    refuses(
        &format!("{NO_QUESTIONS}{SEEN}json = true\n[eval]\nmetric = \"seen\""),
        &unasked("metric = \"seen\""),
    );
}
