//! Long work on the screen: a redrawn line on a terminal, now and then a line elsewhere.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use statetune_core::work::{Observer, Progress};

use super::{stop, tell};

/// Work that takes longer has a line.
const FIRST: Duration = Duration::from_secs(10);
/// Interval between two lines.
const EVERY: Duration = Duration::from_secs(30);

/// Decides when work has a line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NowAndThen {
    told: Option<Instant>,
}

impl NowAndThen {
    /// Whether to print a line now.
    pub(super) fn is_due(&mut self, progress: &Progress) -> bool {
        let is_due =
            progress.elapsed >= FIRST && self.told.is_none_or(|told| told.elapsed() >= EVERY);
        if is_due {
            self.told = Some(Instant::now());
        }
        is_due
    }
}

/// Shows the long work of a command, and stops it when the process is asked to end.
#[derive(Default)]
pub(super) struct Working {
    bar: RefCell<Option<ProgressBar>>,
    now_and_then: Cell<NowAndThen>,
}

thread_local! {
    /// Whether another part of the program shows work.
    static SHOWN_ELSEWHERE: Cell<bool> = const { Cell::new(false) };
}

/// Leaves the work of this thread to another observer.
pub(super) fn is_shown_elsewhere() {
    SHOWN_ELSEWHERE.set(true);
}

impl Observer for Working {
    fn progress(&self, progress: &Progress) {
        if SHOWN_ELSEWHERE.get() {
            return;
        }
        if io::stderr().is_terminal() {
            let mut bar = self.bar.borrow_mut();
            bar.get_or_insert_with(new_bar).set_message(progress.to_string());
            return;
        }
        let mut now_and_then = self.now_and_then.get();
        if now_and_then.is_due(progress) {
            tell(progress);
        }
        self.now_and_then.set(now_and_then);
    }

    fn ended(&self) {
        self.now_and_then.set(NowAndThen::default());
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn stops(&self) -> bool {
        stop::stops_work()
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    bar.set_style(ProgressStyle::with_template("{msg}").expect("a valid template"));
    bar
}
