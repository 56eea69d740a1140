//! Single keys from the terminal that a run was started in.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::read;
use rustix::process::getpgrp;
use rustix::stdio::stdin;
use rustix::termios::{
    LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr,
};

/// Interval between two checks of the keyboard.
const LOOK: Duration = Duration::from_millis(200);

/// The keyboard of the terminal in raw key mode: single keys without echo while open. Ctrl-C and other signals still
/// work.
#[derive(Clone, Default)]
pub(super) struct Keyboard {
    /// The terminal settings to restore; `None` while closed.
    before: Arc<Mutex<Option<Termios>>>,
}

impl Keyboard {
    /// Passes each key to `on_key` in a thread of its own. Returns whether there is a keyboard: standard input is a
    /// terminal, and this process is in the foreground.
    pub(super) fn open(&self, on_key: impl Fn(u8) + Send + 'static) -> bool {
        if !isatty(stdin()) || !in_foreground() {
            return false;
        }
        let Ok(before) = tcgetattr(stdin()) else { return false };
        let mut single = before.clone();
        single.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        if tcsetattr(stdin(), OptionalActions::Now, &single).is_err() {
            return false;
        }
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let keyboard = self.clone();
        thread::spawn(move || {
            while keyboard.is_open() {
                match next_key() {
                    Some(Some(key)) => on_key(key),
                    Some(None) => {}
                    None => return,
                }
            }
        });
        true
    }

    /// Restores the terminal settings.
    pub(super) fn close(&self) {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            // A closed terminal needs no restoring.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
        }
    }

    fn is_open(&self) -> bool {
        self.before.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Whether this process may read from the terminal without being stopped.
fn in_foreground() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}

/// A key, `Some(None)` after a timeout, or `None` at the end of input.
fn next_key() -> Option<Option<u8>> {
    let wait = Timespec::try_from(LOOK).ok()?;
    let ready = poll(&mut [PollFd::new(&stdin(), PollFlags::IN)], Some(&wait));
    if !ready.is_ok_and(|ready| ready > 0) {
        return Some(None);
    }
    if !in_foreground() {
        // The input belongs to the foreground process.
        thread::sleep(LOOK);
        return Some(None);
    }
    let mut key = [0];
    match read(stdin(), &mut key) {
        Ok(1) => Some(Some(key[0])),
        _ => None,
    }
}
