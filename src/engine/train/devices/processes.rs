//! The processes of the other devices on this machine, where the program starts them itself.

use std::cell::RefCell;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use statetune_core::diagnostic::{Text, msg};
use statetune_core::exit::ExitCode;

use super::DevicesError;

/// Time between two looks at a process.
const LOOK: Duration = Duration::from_millis(10);

/// Started processes, each with the number of its device. Those that still run are killed when the value is dropped: they
/// have nothing to save.
#[derive(Debug, Default)]
pub struct Processes(RefCell<Vec<(usize, Child)>>);

impl Processes {
    /// Starts the processes of the devices 1 to `count - 1`.
    ///
    /// # Errors
    /// A process that cannot be started; those that were started are killed.
    pub fn start(count: usize, command: impl Fn(usize) -> Command) -> io::Result<Processes> {
        let started = Processes::default();
        for rank in 1..count {
            let child = command(rank).spawn()?;
            started.0.borrow_mut().push((rank, child));
        }
        Ok(started)
    }

    /// A process that has ended without success.
    pub(super) fn lost(&self) -> Option<DevicesError> {
        self.0.borrow_mut().iter_mut().find_map(|(rank, child)| {
            let status = child.try_wait().ok().flatten().filter(|status| !status.success())?;
            Some(DevicesError::Lost { rank: Some(*rank), how: how(status), code: code(status) })
        })
    }

    /// Waits until all processes have ended, at most for `patience`.
    pub fn wait(&self, patience: Duration) {
        let started = Instant::now();
        let runs = |(_, child): &mut (usize, Child)| matches!(child.try_wait(), Ok(None));
        while self.0.borrow_mut().iter_mut().any(runs) && started.elapsed() < patience {
            sleep(LOOK);
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for (_, child) in self.0.get_mut() {
            // A process that has ended is not killed, only forgotten.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How a process ended.
fn how(status: ExitStatus) -> Option<Text> {
    match (status.signal(), status.code()) {
        (Some(signal), _) => Some(msg!(KILLED_BY_SIGNAL, signal)),
        (None, Some(code)) => Some(msg!(ENDED_WITH_CODE, code)),
        _ => None,
    }
}

fn code(status: ExitStatus) -> Option<ExitCode> {
    status.code().map(ExitCode::of_number)
}
