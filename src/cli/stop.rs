//! How the process ends when it is asked to: Ctrl-C, SIGTERM, a closed terminal.
//!
//! Signals that arrive together are one request: `timeout`, a batch system and a closed terminal signal the process and its
//! group. A later signal is a second request, and ends the process at once.
//!
//! A run that saves stops after its step. Any other command has nothing to save: work that looks
//! ([`statetune_core::work`]) removes what it has half written, and the process ends with the code of the signal.
//!
//! The process never ends through `exit` while other threads compute: `exit` runs destructors of libtorch that these threads
//! still need.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{exit as exit_at_once, register};
use statetune_core::work::is_open;

use super::tell;

/// Shells report a process ended by a signal as this plus the signal number.
pub(super) const SIGNALLED: i32 = 128;
/// Signals within this time after the first are the same request.
const TOGETHER: Duration = Duration::from_secs(1);
/// How long work that looks may take to notice a request.
const NOTICE: Duration = Duration::from_secs(5);
/// How long the last output may take, for example into a full pipe.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// What is known about the end of this process.
#[derive(Default)]
struct End {
    /// Whether the process was asked to end.
    asked: Arc<AtomicBool>,
    /// The first signal; 0 before.
    signal: AtomicI32,
    manners: Mutex<Manners>,
}

/// What the command does when it is asked to end.
#[derive(Default)]
struct Manners {
    kind: Kind,
    /// When the process was first asked to end.
    first: Option<Instant>,
    /// Whether the process outlives its terminal.
    detached: bool,
    /// Called before the process ends at once.
    before: Vec<Box<dyn Fn() + Send>>,
    /// What a command that saves says when it ends at once.
    last_words: Option<Box<dyn Fn() -> String + Send>>,
}

#[derive(Clone, Copy, Default)]
enum Kind {
    /// Ends, with nothing to save.
    #[default]
    Ends,
    /// Saves and ends by itself; after SIGTERM within this time.
    Saves(Duration),
    /// As `Saves`, told by another process.
    SavesAlong(Duration),
    /// Answers a question: Ctrl-C stops the answer alone.
    Answers,
    /// Handles signals itself.
    Other,
}

static END: LazyLock<End> = LazyLock::new(End::default);

impl End {
    fn manners(&self) -> std::sync::MutexGuard<'_, Manners> {
        self.manners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens to signals until the process ends.
///
/// # Errors
/// When the operating system refuses to deliver signals.
pub(super) fn listen() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGXCPU])?;
    hear_of_cpu_limit();
    thread::spawn(move || {
        let mut has_told_of_cpu_limit = false;
        for signal in signals.forever() {
            match signal {
                // The system repeats the signal each second.
                SIGXCPU if has_told_of_cpu_limit => {}
                SIGXCPU => {
                    has_told_of_cpu_limit = true;
                    end_at_cpu_limit();
                }
                signal => answer(signal),
            }
        }
    });
    Ok(())
}

/// CPU time before `ulimit -t` ends the process: at most, and as a share of the whole.
const CPU_TIME_TO_SAVE: u64 = 60;
const SHARE_TO_SAVE: u64 = 4;

/// At the hard limit of CPU time the system kills the process: lets it hear of the limit some time before.
fn hear_of_cpu_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Cpu);
    let Some(hard) = maximum else { return };
    let before = hard.saturating_sub((hard / SHARE_TO_SAVE).clamp(1, CPU_TIME_TO_SAVE)).max(1);
    let current = Some(current.map_or(before, |soft| soft.min(before)));
    // Without it, the process ends as the system ends it.
    let _ = setrlimit(Resource::Cpu, Rlimit { current, maximum });
}

/// Ends as after a SIGTERM, which the limit of CPU time is for a batch system; nothing more for a process that ends already.
fn end_at_cpu_limit() {
    if END.manners().first.is_none() {
        tell("the limit of CPU time is near (`ulimit -t`)");
        answer(SIGTERM);
    }
}

/// From now on a write beyond the limit of a file's size fails, as on a full disk, and does not end the process.
///
/// # Errors
/// When the operating system refuses to deliver the signal.
pub(super) fn outlive_file_limit() -> io::Result<()> {
    // SAFETY: the handler does nothing.
    unsafe { register(SIGXFSZ, || {}) }.map(drop)
}

/// Does what a signal asks for.
fn answer(signal: i32) {
    let (kind, is_first, is_later) = {
        let mut manners = END.manners();
        if matches!(manners.kind, Kind::Other) || (signal == SIGHUP && manners.detached) {
            return;
        }
        let is_first = manners.first.is_none();
        let since = manners.first.get_or_insert_with(Instant::now).elapsed();
        (manners.kind, is_first, since >= TOGETHER)
    };
    if is_later {
        end_at_once(signal);
    }
    if is_first {
        END.signal.store(signal, Ordering::Relaxed);
        END.asked.store(true, Ordering::Relaxed);
    }
    match kind {
        Kind::Ends if !is_open() => end_at_once(signal),
        Kind::Ends => end_after(NOTICE, signal, stops_work),
        Kind::Saves(grace) | Kind::SavesAlong(grace) if signal == SIGTERM && grace.is_zero() => {
            end_at_once(signal)
        }
        Kind::Saves(grace) | Kind::SavesAlong(grace) => {
            if is_first && matches!(kind, Kind::Saves(_)) {
                tell("stopping and saving everything; interrupt again to stop at once");
            }
            if signal == SIGTERM {
                end_after(grace, signal, || true);
            }
        }
        Kind::Answers if signal == SIGINT => {}
        Kind::Answers => end_at_once(signal),
        Kind::Other => {}
    }
}

/// Ends the process after `time` if `still` holds then.
fn end_after(time: Duration, signal: i32, still: impl Fn() -> bool + Send + 'static) {
    thread::spawn(move || {
        thread::sleep(time);
        if still() {
            end_at_once(signal);
        }
    });
}

/// Ends the process with the code of a signal, from any thread, without running a destructor.
fn end_at_once(signal: i32) -> ! {
    let (done, last) = channel();
    // The thread that computes may hold a lock of the output.
    thread::spawn(move || {
        let manners = END.manners();
        manners.before.iter().for_each(|before| before());
        if let Some(last_words) = &manners.last_words {
            tell(last_words());
        }
        let _ = io::stdout().flush();
        let _ = done.send(());
    });
    let _ = last.recv_timeout(LAST_OUTPUT);
    exit_at_once(SIGNALLED + signal)
}

/// A flag that becomes true when the process is asked to end.
pub(super) fn asked() -> Arc<AtomicBool> {
    Arc::clone(&END.asked)
}

/// Whether the process is asked to end.
pub(super) fn is_asked() -> bool {
    END.asked.load(Ordering::Relaxed)
}

/// Whether work that has nothing to save should stop.
pub(super) fn stops_work() -> bool {
    is_asked() && matches!(END.manners().kind, Kind::Ends)
}

/// Ends the process with the code of the signal that asked for it.
pub(super) fn end_as_asked() -> ! {
    end_at_once(END.signal.load(Ordering::Relaxed))
}

/// From now on the command saves and ends by itself when it is asked to, after SIGTERM within `grace`. Where it ends at once
/// all the same, it says `last_words`.
pub(super) fn saves(grace: Duration, last_words: impl Fn() -> String + Send + 'static) {
    let mut manners = END.manners();
    manners.kind = Kind::Saves(grace);
    manners.last_words = Some(Box::new(last_words));
}

/// As [`saves`] for a process that another one saves for: says nothing.
pub(super) fn saves_along(grace: Duration) {
    END.manners().kind = Kind::SavesAlong(grace);
}

/// The command handles signals itself.
pub(super) fn handles_signals_itself() {
    END.manners().kind = Kind::Other;
}

/// Until the value is dropped, Ctrl-C asks for the end of an answer, by the flag of [`asked`]. A second Ctrl-C ends the
/// process.
pub(super) fn interrupts_answers() -> Interrupts {
    END.manners().kind = Kind::Answers;
    Interrupts(())
}

/// See [`interrupts_answers`].
pub(super) struct Interrupts(());

impl Drop for Interrupts {
    fn drop(&mut self) {
        let mut manners = END.manners();
        (manners.kind, manners.first) = (Kind::Ends, None);
        END.signal.store(0, Ordering::Relaxed);
        END.asked.store(false, Ordering::Relaxed);
    }
}

/// Before the process ends at once, the terminal gets back its present settings, which the editing of a line changes.
pub(super) fn restores_terminal() {
    if let Ok(settings) = tcgetattr(stdin()) {
        before_end(move || {
            let _ = tcsetattr(stdin(), OptionalActions::Now, &settings);
        });
    }
}

/// The process does not end with its terminal.
pub(super) fn outlives_terminal() {
    END.manners().detached = true;
}

/// Calls `tidy` before the process ends at once.
pub(super) fn before_end(tidy: impl Fn() + Send + 'static) {
    END.manners().before.push(Box::new(tidy));
}
