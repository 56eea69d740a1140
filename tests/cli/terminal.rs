//! The program in a terminal of its own, made by `script`, and what is seen there.

use std::io::{Read, Write};
use std::num::NonZero;
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
