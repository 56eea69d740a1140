//! The clock of the machine, which may be wrong by decades.

use std::time::SystemTime;

use chrono::{DateTime, Local};

/// The time of the machine, in its time zone. It may lie before 1970, where a clock without a battery begins, and jump
/// between two calls.
pub fn local_time() -> DateTime<Local> {
    SystemTime::now().into()
}
