//! The program in a terminal of its own, made by `script`, and what is seen there.

use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::case::{Case, IN_ENGLISH};
use crate::resume::wait_until;

/// Lines and columns.
const SIZE: (NonZero<u16>, NonZero<u16>) =
    (NonZero::new(30).expect("not 0"), NonZero::new(130).expect("not 0"));

/// A terminal in which the program runs.
pub struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Runs the program with `arguments` in the folder of `case`; `None` where there is no `script`.
    pub fn run(case: &Case, arguments: &str) -> Option<Terminal> {
        Terminal::run_in(case, "exec", arguments)
    }

    /// Like [`Terminal::run`], started by a command of the shell.
    pub fn run_in(case: &Case, starter: &str, arguments: &str) -> Option<Terminal> {
        let (rows, cols) = SIZE;
        let program = env!("CARGO_BIN_EXE_statetune");
        let command = format!("stty rows {rows} cols {cols}; {starter} {program} {arguments}");
        let started = Command::new("script")
            .args(["-qefc", &command, "/dev/null"])
            .current_dir(case.path(""))
            .env("OMP_NUM_THREADS", "1")
            .env(IN_ENGLISH.0, IN_ENGLISH.1)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => {
                println!("skipped: `script` makes the terminal of this test: {error}");
                return None;
            }
        };
        let keyboard = child.stdin.take().expect("a pipe");
        let mut output = child.stdout.take().expect("a pipe");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, cols, 500)));
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("no panic").process(&bytes[..count]);
            }
        });
        Some(Terminal { child, keyboard, screen })
    }

    /// What is seen now.
    pub fn seen(&self) -> String {
        self.screen.lock().expect("no panic").screen().contents()
    }

    /// Waits until this is seen.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let mut seen = String::new();
        wait_until(|| {
            seen = self.seen();
            seen.contains(text)
        });
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("a terminal");
        self.keyboard.flush().expect("a terminal");
    }

    /// Waits for the end; the exit code.
    pub fn ends(&mut self) -> Option<i32> {
        let mut ended = None;
        wait_until(|| {
            ended = self.child.try_wait().expect("a child");
            ended.is_some()
        });
        ended.and_then(|status| status.code())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended, unless the test failed
        let _ = self.child.wait();
    }
}

/// A line is edited with the keys of a shell, stays in a history that only the user can read, and Ctrl-C stops the answer
/// alone.
#[test]
fn chat_at_a_terminal() {
    let case = Case::new();
    let starter = "exec env XDG_STATE_HOME=$PWD/state";
    let long = "chat --model base.pth --tokenizer vocab.txt --temperature 0 --max-tokens 1000000";
    let Some(mut terminal) = Terminal::run_in(&case, starter, long) else { return };
    let at_prompt = |terminal: &Terminal| terminal.seen().trim_end().ends_with('>');
    terminal.shows("Ctrl-C stops an answer");
    wait_until(|| at_prompt(&terminal));
    terminal.press("Helo\u{1b}[Dl"); // the arrow to the left, then the missing letter
    terminal.shows("> Hello");
    terminal.press("\r");
    wait_until(|| terminal.seen().len() > 400); // the answer has no end
    terminal.press("\u{3}");
    wait_until(|| at_prompt(&terminal));
    // At the prompt it drops the line.
    terminal.press("nothing\u{3}");
    terminal.shows("Ctrl-D or /quit ends the chat");
    wait_until(|| at_prompt(&terminal));
    terminal.press("\u{1b}[A");
    wait_until(|| terminal.seen().trim_end().ends_with("> Hello"));
    terminal.press("\r");
    wait_until(|| !terminal.seen().trim_end().ends_with("> Hello"));
    terminal.press("\u{3}");
    wait_until(|| at_prompt(&terminal));
    terminal.press("\u{4}");
    assert_eq!(terminal.ends(), Some(0), "{}", terminal.seen());

    assert!(case.read("state/statetune/chat_history").lines().any(|line| line == "Hello"));
    for (name, mode) in [("state/statetune", 0o700), ("state/statetune/chat_history", 0o600)] {
        let found = std::fs::metadata(case.path(name)).expect("written").permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
}
