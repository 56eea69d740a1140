//! The GPU of tests and benchmarks: the one of this machine, or a closing line about what went without.

use std::collections::BTreeSet;
use std::ffi::c_int;
use std::sync::{Mutex, PoisonError};
use std::{env, thread};

use statetune_engine::kernels::find_gpu;

/// Set to 1, it makes everything fail that wants a GPU and gets none.
const REQUIRE: &str = "STATETUNE_REQUIRE_GPU";

/// libtorch remembers its first answer about CUDA, and seeds and backward passes ask: whichever test comes first, the
/// question has come before.
#[used]
#[unsafe(link_section = ".init_array")]
static ASK_FIRST: extern "C" fn() = ask_first;

extern "C" fn ask_first() {
    let _ = find_gpu();
}

/// Names of what went without a GPU.
static WITHOUT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

unsafe extern "C" {
    /// Of the C library.
    fn atexit(function: extern "C" fn()) -> c_int;
}

/// Whether there is a GPU. If not, the calling test is named in a line that ends the output of this process.
///
/// # Panics
/// Without a GPU, if `STATETUNE_REQUIRE_GPU=1` is set.
pub fn has_gpu() -> bool {
    let Err(missing) = find_gpu() else { return true };
    assert!(!is_required(), "{REQUIRE}=1, but {missing}");
    let mut without = WITHOUT.lock().unwrap_or_else(PoisonError::into_inner);
    if without.is_empty() {
        // SAFETY: the function takes nothing, lives as long as the process, and does not unwind.
        unsafe { atexit(say_what_went_without) };
    }
    without.insert(thread::current().name().unwrap_or("main").to_string());
    false
}

/// Whether a GPU is required.
pub fn is_required() -> bool {
    env::var(REQUIRE).is_ok_and(|value| value == "1")
}

extern "C" fn say_what_went_without() {
    let without = WITHOUT.lock().unwrap_or_else(PoisonError::into_inner);
    let names: Vec<&str> = without.iter().map(String::as_str).collect();
    let reason = find_gpu().err().map(|missing| missing.reason.to_string()).unwrap_or_default();
    eprintln!("no GPU for {}: {reason}; {REQUIRE}=1 makes that an error", names.join(", "));
}
