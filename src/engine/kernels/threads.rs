//! How many threads compute on the CPU, and how the number follows the load of the machine.
//!
//! An operation that is shared out ends when its last thread ends. Where another program takes a core, the thread on that core is
//! late, and the others wait for it in each of the hundreds of operations of a step: one thread alone is faster than two
//! of which one shares its core. So the number of threads goes down when threads that could compute wait for a
//! core, and up again when cores are idle. Results do not depend on the number.

use std::ffi::c_int;
use std::fs;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity};

unsafe extern "C" {
    fn statetune_threads() -> c_int;
    fn statetune_allow_threads(n: c_int);
    fn statetune_cores() -> c_int;
}

/// Time between two looks at the load.
const TICK: Duration = Duration::from_millis(100);
/// Cores for which threads of this process wait, on average, above which there are too many of them.
const WAITING: f64 = 0.25;
/// Idle cores from which another thread has room.
const IDLE: f64 = 0.75;
/// Ticks for which cores have to be idle before the number of threads goes up, at first and at most.
const PATIENCE: u32 = 3;
const MOST_PATIENCE: u32 = 48;
/// How many times as long the number stays down where no core is idle. Then it is tried: programs of a lower priority
/// leave no core idle, and give way.
const WITHOUT_IDLE: u32 = 10;
/// Ticks after which a higher number has proven right.
const PROVEN: u32 = 30;
/// Share of the newest tick in the average.
const NEWEST: f64 = 0.5;
/// Units of `/proc/stat` in a second, on every machine that Linux runs on (`USER_HZ`).
const JIFFIES: f64 = 100.0;

/// The most threads that compute; 0 until it is known.
static MOST: AtomicUsize = AtomicUsize::new(0);
/// Whether that many compute whatever the load.
static FIXED: AtomicBool = AtomicBool::new(false);

/// The most threads that compute: those of [`fix_threads`], else those that OpenMP took from the environment or the machine.
pub fn most_threads() -> usize {
    match MOST.load(Ordering::Relaxed) {
        // SAFETY: the function reads and writes numbers of OpenMP that belong to the calling thread.
        0 => unsafe { statetune_threads() }.try_into().unwrap_or(1),
        most => most,
    }
}

/// The cores of the machine, by which products are cut into blocks; those that this process may not use count too.
pub fn cores_of_machine() -> u32 {
    // SAFETY: the function asks the system for a number.
    unsafe { statetune_cores() }.unsigned_abs()
}

/// Computes with `n` threads from now on, whatever the load.
pub fn fix_threads(n: usize) {
    FIXED.store(true, Ordering::Relaxed);
    MOST.store(n, Ordering::Relaxed);
    allow(n);
}

/// Computes with at most `n` threads from now on; their number follows the load.
pub fn limit_threads(n: usize) {
    MOST.store(n, Ordering::Relaxed);
    allow(n);
    follow_load();
}

/// Lets the number of threads follow the load from now on, between 1 and what it is now. Does nothing where the system does
/// not tell the load.
pub fn follow_load() {
    static ONCE: Once = Once::new();
    let most = most_threads();
    if most > 1 {
        ONCE.call_once(|| {
            MOST.store(most, Ordering::Relaxed);
            drop(thread::Builder::new().name("load".into()).spawn(watch));
        });
    }
}

fn allow(n: usize) {
    // SAFETY: the function stores a number.
    unsafe { statetune_allow_threads(n.try_into().unwrap_or(c_int::MAX)) };
}

fn watch() {
    let Ok(cores) = sched_getaffinity(None) else { return };
    let mut number = Number::new(most_threads());
    let mut before = Load::now(&cores);
    while let Some(last) = before {
        thread::sleep(TICK);
        before = Load::now(&cores);
        if FIXED.load(Ordering::Relaxed) {
            return;
        }
        if number.most != most_threads() {
            number = Number::new(most_threads());
        }
        if let Some(now) = &before {
            let [waiting, idle] = now.since(&last);
            allow(number.next(waiting, idle));
        }
    }
}

/// Counters of the system, in seconds.
struct Load {
    at: Instant,
    /// For which threads of this process could have computed, but had no core.
    waiting: f64,
    /// For which cores that this process may use had nothing to do.
    idle: f64,
}

impl Load {
    fn now(cores: &CpuSet) -> Option<Load> {
        let waiting = waiting_of_threads()?;
        let idle = idle_of_cores(&fs::read_to_string("/proc/stat").ok()?, cores)?;
        Some(Load { at: Instant::now(), waiting, idle })
    }

    /// Waiting threads and idle cores since then, on average.
    fn since(&self, before: &Load) -> [f64; 2] {
        let seconds = (self.at - before.at).as_secs_f64().max(1e-3);
        // A thread that ended takes its counter with it.
        [self.waiting - before.waiting, self.idle - before.idle].map(|x| (x / seconds).max(0.0))
    }
}

/// Seconds that all threads of this process have waited for a core.
fn waiting_of_threads() -> Option<f64> {
    let nanoseconds = fs::read_dir("/proc/self/task").ok()?.filter_map(|task| {
        // Seconds on a core, seconds waiting, turns.
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().nth(1)?.parse::<f64>().ok()
    });
    let all: Vec<f64> = nanoseconds.collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() * 1e-9)
}

/// Seconds for which these cores had nothing to do, from the text of `/proc/stat`.
fn idle_of_cores(text: &str, cores: &CpuSet) -> Option<f64> {
    let ticks = text.lines().filter_map(|line| {
        let mut fields = line.strip_prefix("cpu")?.split_ascii_whitespace();
        let core: usize = fields.next()?.parse().ok()?; // not the line of all cores together
        // user, nice, system, idle, waiting for a disk
        let idle: Vec<f64> = fields.skip(3).take(2).filter_map(|n| n.parse().ok()).collect();
        (core < CpuSet::MAX_CPU && cores.is_set(core)).then(|| idle.iter().sum::<f64>())
    });
    let all: Vec<f64> = ticks.collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / JIFFIES)
}

/// The number of threads and what led to it.
struct Number {
    most: usize,
    now: usize,
    /// Averages over the last ticks.
    waiting: f64,
    idle: f64,
    /// Ticks for which cores were idle, and how many are asked for.
    idle_ticks: u32,
    patience: u32,
    /// Ticks since the number went up.
    since_up: u32,
    /// Ticks since the number last changed.
    unchanged: u32,
}

impl Number {
    fn new(most: usize) -> Number {
        Number {
            most,
            now: most,
            waiting: 0.0,
            idle: 0.0,
            idle_ticks: 0,
            patience: PATIENCE,
            since_up: PROVEN,
            unchanged: 0,
        }
    }

    /// The number for the next tick, after one in which on average `waiting` threads waited for a core and `idle` cores
    /// had nothing to do.
    fn next(&mut self, waiting: f64, idle: f64) -> usize {
        let average = |old: f64, new: f64| old + NEWEST * (new - old);
        self.waiting = average(self.waiting, waiting);
        self.idle = average(self.idle, idle);
        self.idle_ticks = if self.idle >= IDLE { self.idle_ticks + 1 } else { 0 };
        self.since_up = self.since_up.saturating_add(1);
        self.unchanged = self.unchanged.saturating_add(1);
        if self.since_up == PROVEN && self.now > 1 {
            self.patience = PATIENCE;
        }
        let before = self.now;
        if self.now > 1 && self.waiting > WAITING {
            let surplus = (self.waiting.round() as usize).max(1);
            self.now = self.now.saturating_sub(surplus).max(1);
            self.waiting = 0.0;
            if self.since_up < PROVEN {
                self.patience = (self.patience * 2).min(MOST_PATIENCE);
            }
        } else if self.now < self.most
            && (self.idle_ticks >= self.patience || self.unchanged >= self.patience * WITHOUT_IDLE)
        {
            let room = ((self.idle + 1.0 - IDLE) as usize).max(1);
            self.now = (self.now + room).min(self.most);
            self.idle_ticks = 0;
            self.since_up = 0;
        }
        if self.now != before {
            self.unchanged = 0;
        }
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(number: &mut Number, ticks: usize, waiting: f64, idle: f64) -> usize {
        (0..ticks).map(|_| number.next(waiting, idle)).last().expect("a tick")
    }

    #[test]
    fn a_quiet_machine_keeps_all_threads() {
        let mut number = Number::new(8);
        assert_eq!(after(&mut number, 100, 0.05, 0.3), 8);
        assert_eq!(after(&mut number, 1, 0.4, 0.0), 8, "one tick does not count");
    }

    #[test]
    fn threads_that_wait_go_and_come_back_when_cores_are_idle() {
        let mut number = Number::new(2);
        assert_eq!(after(&mut number, 3, 0.6, 0.0), 1);
        assert_eq!(after(&mut number, 20, 0.6, 0.0), 1, "never none");
        assert_eq!(after(&mut number, 5, 0.0, 0.2), 1, "no core is idle");
        assert_eq!(after(&mut number, 8, 0.0, 1.0), 2);
        let mut many = Number::new(16);
        assert_eq!(after(&mut many, 2, 4.0, 0.0), 12);
        assert!(after(&mut many, 12, 0.0, 6.0) >= 15);
    }

    #[test]
    fn a_number_that_was_too_high_is_tried_less_often() {
        let mut number = Number::new(2);
        let mut tries = |ticks: usize| {
            let mut ups = 0;
            for _ in 0..ticks {
                let before = number.now;
                // A program that takes a core as soon as there are two threads.
                let (waiting, idle) = if before == 2 { (0.7, 0.0) } else { (0.0, 1.0) };
                ups += usize::from(number.next(waiting, idle) > before);
            }
            ups
        };
        let (first, later) = (tries(100), tries(100));
        assert!(later < first && later <= 3, "{first}, then {later}");
    }

    #[test]
    fn programs_of_lower_priority_do_not_keep_it_down() {
        let mut number = Number::new(4);
        assert!(after(&mut number, 3, 0.6, 0.0) < 4);
        assert_eq!(after(&mut number, 150, 0.05, 0.0), 4);
    }

    #[test]
    fn the_counters_of_the_system_are_read() {
        let cores = sched_getaffinity(None).expect("the cores of this process");
        let before = Load::now(&cores).expect("counters");
        thread::sleep(Duration::from_millis(30));
        let [waiting, idle] = Load::now(&cores).expect("counters").since(&before);
        assert!(waiting.is_finite() && idle.is_finite(), "{waiting} {idle}");
        let text = "cpu  9 9 9 900 90 0\ncpu0 1 2 3 400 50 6\ncpu1 1 1 1 200 0 0\nintr 1\n";
        let mut first = CpuSet::new();
        first.set(0);
        assert_eq!(idle_of_cores(text, &first), Some(4.5));
        assert_eq!(idle_of_cores("intr 1\n", &first), None);
    }
}
