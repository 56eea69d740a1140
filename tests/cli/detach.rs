//! Runs that leave their terminal.

use std::path::Path;

use serde_json::Value;

use crate::case::{Case, STATE};
use crate::resume::wait_until;
use crate::terminal::Terminal;

/// More steps than a terminal is open for.
const MANY: &str =
    "--set train.epoch_count=300 --set data.val_split=0 --set checkpoint.epoch_save=300";

fn many() -> Vec<&'static str> {
    MANY.split(' ').collect()
}

fn status(case: &Case, run: &Path) -> String {
    case.json(run.join("status.json"))["status"].as_str().expect("a word").to_string()
}

#[test]
fn it_keeps_running_when_the_terminal_is_closed() {
    let case = Case::new();
    let arguments = format!("run {STATE} --detach {MANY}");
    let Some(mut terminal) = Terminal::run(&case, &arguments) else { return };
    terminal.shows("stop     statetune ctl ");
    assert_eq!(terminal.ends(), Some(0));
    drop(terminal); // and closed
    let run = case.only_run();
    assert_eq!(status(&case, &run), "running");
    let end = format!("\nnext     statetune generate {} --prompt ", run.display());
    let printed = || case.read(run.join("output.txt"));
    wait_until(|| printed().contains(&end));
    assert_eq!(status(&case, &run), "done");
    assert!(printed().contains("\nepoch 300/300  step 600/600  100 %"));
    assert!(!printed().contains('\u{1b}'), "no line is redrawn");
}

#[test]
fn it_says_how_to_follow_it() {
    let case = Case::new();
    let started = case.statetune(&[&["run", STATE, "--detach"][..], &many()].concat());
    started.succeeds(
        "\
run      runs/DATE-tiny-ID
output   runs/DATE-tiny-ID/output.txt
follow   statetune watch runs/DATE-tiny-ID
stop     statetune ctl runs/DATE-tiny-ID stop",
        "",
    );
    let run = case.only_run();
    case.statetune(&["ctl", "latest", "stop"]).is_done();
    assert_eq!(status(&case, &run), "interrupted");
    let length = case.read(run.join("output.txt")).len();

    let arguments = ["resume", "latest", "--detach", "--format", "json"];
    let again = case.statetune(&arguments);
    let told: Value = serde_json::from_str(&again.is_done().stdout).expect("JSON");
    assert_eq!(told["schema"], "statetune.detached/1");
    assert_eq!(told["run"], "runs/DATE-tiny-ID");
    case.statetune(&["ctl", "latest", "stop"]).is_done();
    assert!(case.read(run.join("output.txt")).len() > length, "the resumed run writes there");
}

/// What is wrong before there is a run is said where the user is.
#[test]
fn it_is_refused_as_any_run() {
    let case = Case::new().with(STATE, "base.pth", "gone.pth");
    let attached = case.statetune(&["run", STATE]);
    let detached = case.statetune(&["run", STATE, "--detach"]);
    assert_eq!((detached.code, &detached.stderr), (Some(21), &attached.stderr));
    assert_eq!((&*detached.stdout, case.runs().len()), ("", 0));
}
