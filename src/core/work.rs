//! Long work: how far it is, and whether it should stop.
//!
//! Work that may take longer than a person waits in silence is a [`Work`]. It tells the observers of its thread how far it
//! is; they show it, record it, or stop it. Without observers, as in a library, it is silent and runs to its end.
//!
//! An observer stops work by unwinding: unwinding removes what is half written, as after any failure.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::words::{clock, grouped};

/// Observers are told at most this often.
const EVERY: Duration = Duration::from_millis(100);
/// Parts of longer work that end sooner are not told.
const SHORT_PART: Duration = Duration::from_secs(1);

/// How far work is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// What is done: `validation loss`.
    pub what: &'static str,
    /// Units done.
    pub done: u64,
    /// All units.
    pub total: u64,
    /// Time since the work began.
    pub elapsed: Duration,
}

impl Progress {
    /// The time left at the speed so far; `None` before the first unit is done.
    pub fn left(&self) -> Option<Duration> {
        let rest = self.total.saturating_sub(self.done);
        (self.done > 0).then(|| self.elapsed.mul_f64(rest as f64 / self.done as f64))
    }
}

impl std::fmt::Display for Progress {
    /// `validation loss 37/200  ETA 0:12`; a share instead of large numbers.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Progress { what, done, total, .. } = self;
        match total {
            0 => write!(formatter, "{what}")?,
            1..100_000 => write!(formatter, "{what} {}/{}", grouped(*done), grouped(*total))?,
            _ => write!(formatter, "{what} {} %", done * 100 / total)?,
        }
        match self.left().filter(|_| *total > 0) {
            Some(left) => write!(formatter, "  ETA {}", clock(left)),
            None => Ok(()),
        }
    }
}

/// Shows, records or stops work.
pub trait Observer {
    /// Work continues.
    fn progress(&self, progress: &Progress);
    /// Work has ended.
    fn ended(&self);
    /// Whether the work should stop. Must not begin or observe work.
    fn stops(&self) -> bool {
        false
    }
}

/// What a thread is unwound with when an observer stops its work.
#[derive(Debug)]
pub struct Stopped;

thread_local! {
    static OBSERVERS: RefCell<Vec<Rc<dyn Observer>>> = const { RefCell::new(Vec::new()) };
}

/// Work under way in the process.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Whether work is under way in the process, so that a request to stop is noticed soon.
pub fn is_open() -> bool {
    OPEN.load(Ordering::Relaxed) > 0
}

/// Adds an observer to this thread until the returned value is dropped.
pub fn observe(observer: Rc<dyn Observer>) -> Observed {
    OBSERVERS.with_borrow_mut(|all| all.push(observer));
    Observed(())
}

/// An observer at work; dropped in the reverse order of [`observe`].
#[derive(Debug)]
pub struct Observed(());

impl Drop for Observed {
    fn drop(&mut self) {
        OBSERVERS.with_borrow_mut(|all| drop(all.pop()));
    }
}

/// The observers, so that one of them may begin work of its own.
fn observers() -> Vec<Rc<dyn Observer>> {
    OBSERVERS.with_borrow(Clone::clone)
}

/// Work under way.
#[derive(Debug)]
pub struct Work {
    progress: Progress,
    began: Instant,
    /// When the observers are told next.
    next: Instant,
    is_told: bool,
}

impl Work {
    /// Begins work of `total` units; 0 when their number is not known.
    pub fn begin(what: &'static str, total: u64) -> Work {
        let mut work = Work::after(Duration::ZERO, what, total);
        work.tell(work.began);
        work
    }

    /// Begins a part of longer work, such as one step of many: observers hear only of a part that takes long.
    pub fn begin_part(what: &'static str, total: u64) -> Work {
        Work::after(SHORT_PART, what, total)
    }

    fn after(wait: Duration, what: &'static str, total: u64) -> Work {
        OPEN.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let progress = Progress { what, done: 0, total, elapsed: Duration::ZERO };
        Work { progress, began, next: began + wait, is_told: false }
    }

    /// Adds `units` done. Unwinds with [`Stopped`] when an observer stops the work.
    pub fn advance(&mut self, units: u64) {
        self.set(self.progress.done + units);
    }

    /// Sets the units done. Unwinds with [`Stopped`] when an observer stops the work.
    pub fn set(&mut self, done: u64) {
        self.progress.done = done.min(self.progress.total);
        let now = Instant::now();
        if now >= self.next {
            self.tell(now);
        }
        if OBSERVERS.with_borrow(|all| all.iter().any(|one| one.stops())) {
            resume_unwind(Box::new(Stopped));
        }
    }

    /// The work as a function that sets the units done, for loops that may also break off.
    pub fn look(mut self) -> impl FnMut(u64) -> ControlFlow<()> {
        move |done| {
            self.set(done);
            ControlFlow::Continue(())
        }
    }

    fn tell(&mut self, now: Instant) {
        self.next = now + EVERY;
        self.is_told = true;
        self.progress.elapsed = now - self.began;
        observers().iter().for_each(|one| one.progress(&self.progress));
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
        if !self.is_told {
            return;
        }
        observers().iter().for_each(|one| one.ended());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[derive(Default)]
    struct Noted {
        told: RefCell<Vec<Progress>>,
        ended: Cell<u32>,
        stops: Cell<bool>,
    }

    impl Observer for Noted {
        fn progress(&self, progress: &Progress) {
            self.told.borrow_mut().push(*progress);
        }

        fn ended(&self) {
            self.ended.set(self.ended.get() + 1);
        }

        fn stops(&self) -> bool {
            self.stops.get()
        }
    }

    #[test]
    fn observers_see_work_and_stop_it() {
        let noted = Rc::new(Noted::default());
        {
            let _observed = observe(noted.clone());
            let mut work = Work::begin("counting", 3);
            work.advance(1);
            noted.stops.set(true);
            let stopped = catch_unwind(AssertUnwindSafe(|| work.advance(1)));
            assert!(stopped.expect_err("stopped").is::<Stopped>());
            assert_eq!(noted.ended.get(), 0);
            drop(work);
        }
        assert_eq!((noted.told.borrow()[0].done, noted.ended.get()), (0, 1));
        let mut work = Work::begin("alone", 1);
        work.advance(5);
        assert_eq!((work.progress.done, noted.told.borrow().len()), (1, 1));
    }

    #[test]
    fn short_parts_are_not_told() {
        let noted = Rc::new(Noted::default());
        let _observed = observe(noted.clone());
        let mut part = Work::begin_part("a step", 2);
        part.advance(1);
        drop(part);
        assert_eq!((noted.told.borrow().len(), noted.ended.get()), (0, 0));
        let mut long = Work::begin_part("a step", 2);
        long.next = long.began;
        long.advance(1);
        drop(long);
        assert_eq!((noted.told.borrow()[0].done, noted.ended.get()), (1, 1));
    }

    #[test]
    fn progress_in_words() {
        let progress = |done, total| Progress {
            what: "validation loss",
            done,
            total,
            elapsed: Duration::from_secs(10),
        };
        assert_eq!(progress(0, 200).to_string(), "validation loss 0/200");
        assert_eq!(progress(50, 200).to_string(), "validation loss 50/200  ETA 0:30");
        assert_eq!(progress(1 << 29, 1 << 30).to_string(), "validation loss 50 %  ETA 0:10");
        assert_eq!(progress(0, 0).to_string(), "validation loss");
    }
}
