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

/// From one look at the keyboard to the next.
const LOOK: Duration = Duration::from_millis(200);

/// The keyboard of the terminal, which gives single keys without showing them while it is open. Signals such
/// as Ctrl-C stay signals.
#[derive(Clone, Default)]
pub(super) struct Keyboard {
    /// How the terminal was before; `None` while closed.
    before: Arc<Mutex<Option<Termios>>>,
}

impl Keyboard {
    /// Gives each key to `on_key`, in a thread of its own. Returns whether there is a keyboard: standard
    /// input is a terminal, and this process is in its foreground.
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

    /// Makes the terminal what it was before.
    pub(super) fn close(&self) {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
        }
    }

    fn is_open(&self) -> bool {
        self.before.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Whether reading from the terminal would not stop this process.
fn in_foreground() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}

/// A key, nothing for a while, or `None` when no more will come.
fn next_key() -> Option<Option<u8>> {
    let wait = Timespec::try_from(LOOK).ok()?;
    let ready = poll(&mut [PollFd::new(&stdin(), PollFlags::IN)], Some(&wait));
    if !ready.is_ok_and(|ready| ready > 0) {
        return Some(None);
    }
    if !in_foreground() {
        // What was typed is for another process.
        thread::sleep(LOOK);
        return Some(None);
    }
    let mut key = [0];
    match read(stdin(), &mut key) {
        Ok(1) => Some(Some(key[0])),
        _ => None,
    }
}
