//! A group of processes that train one model.

use std::cell::OnceCell;
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use statetune_core::exit::ExitCode;
use statetune_core::work::Work;
use tch::{Device, Tensor};

use super::native::{Gloo, Meeting, Pending};
use super::{Devices, DevicesError, Exchange, Place, Processes};

/// Time between two looks at the store.
const LOOK: Duration = Duration::from_millis(20);
/// How long device 0 looks for the reason of a failed exchange. The others look for longer: device 0 may find it first.
const REASON: Duration = Duration::from_secs(2);
const REASON_OF_OTHERS: Duration = Duration::from_secs(4);
/// How long a failed device waits for the others to read that it failed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long device 0 waits at the end for the processes that it started.
const LAST_PROCESSES: Duration = Duration::from_secs(10);

/// What a device leaves in the store when it fails.
#[derive(Debug, Deserialize, Serialize)]
struct Failure {
    exit_code: i32,
}

/// This process among those that train one model.
#[derive(Debug)]
pub struct Group {
    place: Place,
    timeout: Duration,
    meeting: Meeting,
    /// Absent until all have come.
    gloo: OnceCell<Gloo>,
    /// Whether this process was asked to stop.
    asked: Arc<AtomicBool>,
    /// Those that this process started.
    processes: OnceCell<Processes>,
}

impl Group {
    /// Opens the place at which the devices meet, or reaches it within `timeout`. `asked` becomes true when the process is
    /// asked to stop.
    ///
    /// # Errors
    /// A port that is in use, or a place that cannot be reached.
    pub fn meet(
        place: Place,
        timeout: Duration,
        asked: Arc<AtomicBool>,
    ) -> Result<(Group, u16), DevicesError> {
        let serves = place.rank == 0 && !place.is_served;
        if serves && place.port != 0 {
            is_free(place.port)?;
        }
        if !serves {
            reach(&place, timeout)?;
        }
        let prefix = format!("statetune/{}", place.restarts);
        let (meeting, port) = Meeting::open(&place.host, place.port, serves, &prefix, timeout)?;
        let (gloo, processes) = (OnceCell::new(), OnceCell::new());
        Ok((Group { place, timeout, meeting, gloo, asked, processes }, port))
    }

    /// Takes the processes that this process started for the other devices.
    pub fn watch(&self, processes: Processes) {
        let _ = self.processes.set(processes);
    }

    /// Waits until all devices have come, and connects them.
    ///
    /// # Errors
    /// Devices that have not come within the time, or that failed before.
    pub fn connect(&self) -> Result<(), DevicesError> {
        let Place { rank, count, .. } = self.place;
        self.meeting.set(&here(rank), "")?;
        let started = Instant::now();
        let mut waiting = Work::begin("waiting for the other devices", 0);
        loop {
            let mut missing = Vec::new();
            for other in 0..count {
                if self.meeting.get(&here(other)).map_err(|error| self.reason(error))?.is_none() {
                    missing.push(other);
                }
            }
            if missing.is_empty() {
                break;
            }
            if let Some(known) = self.known_failure()? {
                return Err(known);
            }
            if started.elapsed() > self.timeout {
                let secs = self.timeout.as_secs();
                return Err(DevicesError::Missing { ranks: missing, count, secs });
            }
            waiting.advance(0);
            sleep(LOOK);
        }
        drop(waiting);
        let gloo = Gloo::open(&self.meeting, (rank, count), &self.own_address(), self.timeout);
        let _ = self.gloo.set(gloo.map_err(|error| self.reason(error))?);
        Ok(())
    }

    /// The place of this process.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The address at which the other devices reach this one.
    fn own_address(&self) -> String {
        if std::env::var_os("GLOO_SOCKET_IFNAME").is_some() {
            return String::new();
        }
        // Connecting sends nothing: it asks the system for the way to the host.
        let local = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.connect((&*self.place.host, self.place.port.max(1)))?;
            socket.local_addr()
        });
        local.map_or_else(|_| self.place.host.clone(), |local| local.ip().to_string())
    }

    fn gloo(&self) -> &Gloo {
        self.gloo.get().expect("connected before the first exchange")
    }

    /// What is known of a device that failed: what it left in the store, or how its process ended.
    fn known_failure(&self) -> Result<Option<DevicesError>, DevicesError> {
        for rank in (0..self.place.count).filter(|rank| *rank != self.place.rank) {
            if let Some(text) = self.meeting.get(&failed(rank))? {
                let failure: Option<Failure> = serde_json::from_str(&text).ok();
                let code = failure.map_or(1, |failure| failure.exit_code);
                return Ok(Some(DevicesError::Failed { rank, code: ExitCode::of_number(code) }));
            }
        }
        Ok(self.processes.get().and_then(Processes::lost))
    }

    /// Why an exchange failed with `error`.
    fn reason(&self, error: DevicesError) -> DevicesError {
        let is_first = self.place.rank == 0;
        let patience = if is_first { REASON } else { REASON_OF_OTHERS };
        let started = Instant::now();
        let lost = |rank| DevicesError::Lost { rank, how: None, code: None };
        while started.elapsed() < patience {
            match self.known_failure() {
                Ok(Some(known)) => return known,
                Ok(None) => sleep(LOOK),
                // The store ends with the process that serves it.
                Err(_) if self.place.is_served => return lost(None),
                Err(_) => return lost(Some(0)),
            }
        }
        match &error {
            DevicesError::Native(text) if !is_of_lost_connection(&text.to_string()) => error,
            _ => lost(None),
        }
    }

    /// Tells the other devices that this one failed, so that they end too.
    pub fn fail(&mut self, code: ExitCode) {
        let failure = serde_json::to_string(&Failure { exit_code: code as i32 });
        let text = failure.expect("plain data");
        if self.meeting.set(&failed(self.place.rank), &text).is_err() {
            return;
        }
        self.gloo.take(); // ends the exchange for which others wait
        let started = Instant::now();
        let others = || (0..self.place.count).filter(|rank| *rank != self.place.rank);
        let has_read = |rank| {
            let ended = |key: String| self.meeting.get(&key).is_ok_and(|found| found.is_some());
            ended(failed(rank)) || ended(gone(rank))
        };
        while !others().all(has_read) && started.elapsed() < LAST_WORDS {
            sleep(LOOK);
        }
    }

    /// Leaves the group after another device failed.
    pub fn leave(&self) {
        let _ = self.meeting.set(&gone(self.place.rank), "");
    }

    /// Waits for the processes that this process started, after all devices have ended their work.
    pub fn end(self) {
        if let Some(processes) = self.processes.get() {
            processes.wait(LAST_PROCESSES);
        }
    }
}

impl Devices for Group {
    fn rank(&self) -> usize {
        self.place.rank
    }

    fn count(&self) -> usize {
        self.place.count
    }

    fn gather(&self, tensor: &Tensor) -> Result<Tensor, DevicesError> {
        let size = [self.place.count as i64, tensor.numel() as i64];
        let rows = Tensor::zeros(size, (tensor.kind(), Device::Cpu));
        let row = on_host(tensor).reshape([1, -1]);
        self.gloo().gather(&rows, &row).map_err(|error| self.reason(error))?;
        Ok(rows.to_device(tensor.device()))
    }

    fn begin_exchange(&self, rows: &Tensor) -> Result<Box<dyn Exchange + '_>, DevicesError> {
        let out = rows.zeros_like();
        let begun = self.gloo().begin_exchange(&out, rows);
        let pending = begun.map_err(|error| self.reason(error))?;
        Ok(Box::new(GroupExchange { group: self, out, pending }))
    }

    fn broadcast(&self, tensor: &Tensor) -> Result<(), DevicesError> {
        let host = on_host(tensor);
        self.gloo().broadcast(&host).map_err(|error| self.reason(error))?;
        set_to(tensor, &host);
        Ok(())
    }

    fn give(&self, to: usize, tensor: &Tensor) -> Result<(), DevicesError> {
        self.gloo().give(to, &on_host(tensor)).map_err(|error| self.reason(error))
    }

    fn take(&self, from: usize, tensor: &Tensor) -> Result<(), DevicesError> {
        let host = on_host(tensor);
        self.gloo().take(from, &host).map_err(|error| self.reason(error))?;
        set_to(tensor, &host);
        Ok(())
    }

    fn is_asked_to_stop(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn ask_to_stop(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }
}

/// A tensor of a GPU in the memory of the host, which Gloo sends; a tensor of the CPU itself.
fn on_host(tensor: &Tensor) -> Tensor {
    tensor.detach().to_device(Device::Cpu)
}

/// Sets a tensor of a GPU to what came for it; one of the CPU is that already.
fn set_to(tensor: &Tensor, host: &Tensor) {
    if tensor.device() != Device::Cpu {
        let _guard = tch::no_grad_guard();
        tensor.shallow_clone().copy_(host);
    }
}

/// An exchange under way.
struct GroupExchange<'a> {
    group: &'a Group,
    out: Tensor,
    pending: Pending,
}

impl Exchange for GroupExchange<'_> {
    fn wait(self: Box<Self>) -> Result<Tensor, DevicesError> {
        self.pending.wait().map_err(|error| self.group.reason(error))?;
        Ok(self.out)
    }
}

/// The keys of a device in the store.
fn here(rank: usize) -> String {
    format!("here/{rank}")
}

fn failed(rank: usize) -> String {
    format!("failed/{rank}")
}

fn gone(rank: usize) -> String {
    format!("gone/{rank}")
}

/// Whether the words of Gloo are about a connection that ended.
fn is_of_lost_connection(text: &str) -> bool {
    const PHRASES: [&str; 7] = [
        "Connection closed",
        "Connection reset",
        "Connection refused",
        "Connection timed out",
        "Broken pipe",
        "Network is unreachable",
        "No route to host",
    ];
    PHRASES.iter().any(|phrase| text.contains(phrase))
}

/// Refuses a port that is in use.
fn is_free(port: u16) -> Result<(), DevicesError> {
    match TcpListener::bind(("0.0.0.0", port)) {
        Ok(_) => Ok(()),
        Err(_) => Err(DevicesError::PortTaken { port }),
    }
}

/// Waits until the place at which the devices meet accepts connections.
fn reach(place: &Place, timeout: Duration) -> Result<(), DevicesError> {
    let started = Instant::now();
    let mut waiting = Work::begin("waiting for device 0", 0);
    loop {
        let addresses = (&*place.host, place.port).to_socket_addrs();
        let mut addresses = addresses.into_iter().flatten();
        if addresses.any(|one| TcpStream::connect_timeout(&one, Duration::from_secs(1)).is_ok()) {
            return Ok(());
        }
        if started.elapsed() >= timeout {
            let address = format!("{}:{}", place.host, place.port);
            return Err(DevicesError::Unreachable { address, secs: timeout.as_secs() });
        }
        waiting.advance(0);
        sleep(LOOK);
    }
}
