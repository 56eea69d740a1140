//! Ctrl-C and SIGTERM: the first asks the run to stop, the second stops the process at once.

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::tell;

/// Shells report a process ended by a signal as this plus the signal number.
const SIGNALLED: i32 = 128;

/// Returns a flag that becomes true when the process is asked to stop: Ctrl-C, SIGTERM, or a closed terminal unless
/// the run is `detached`. `before_exit` is called before the process ends at once.
///
/// After SIGTERM, usually sent by programs, the process ends after `grace` even during a step.
///
/// # Errors
/// When the operating system refuses to deliver signals.
pub(super) fn stop_on_signals(
    grace: Duration,
    detached: bool,
    before_exit: impl Fn() + Clone + Send + 'static,
) -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP && detached {
                continue;
            }
            if flag.swap(true, Ordering::Relaxed) {
                before_exit();
                exit(SIGNALLED + signal);
            }
            tell("stopping after this step and saving everything; interrupt again to stop at once");
            if signal == SIGTERM {
                let before_exit = before_exit.clone();
                thread::spawn(move || {
                    thread::sleep(grace);
                    before_exit();
                    exit(SIGNALLED + signal);
                });
            }
        }
    });
    Ok(stop)
}
