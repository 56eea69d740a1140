//! Memory that ends within this program itself: one message and exit code 23 instead of an abort.
//!
//! Memory of libtorch ends in a panic, which is caught where the command runs.

use std::alloc::{GlobalAlloc, Layout, System};

use signal_hook::low_level::exit;
use statetune_core::exit::ExitCode;

const MESSAGE: &[u8] =
    b"error[ST5005]: out of memory: a part of the program could not get the memory that it needs; \
saved files are intact\n";

/// The allocator of the system, which ends the process when there is no memory left. The standard library would abort
/// without a word of ours; no code here can continue after a failed allocation.
struct EndsInWords;

#[global_allocator]
static ALLOCATOR: EndsInWords = EndsInWords;

// SAFETY: every call goes to the allocator of the system, whose contract is the same, and returns what it returned.
unsafe impl GlobalAlloc for EndsInWords {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        got(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        got(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        got(unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn got(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        // Neither call allocates or takes a lock.
        let _ = rustix::io::write(rustix::stdio::stderr(), MESSAGE);
        exit(ExitCode::OutOfMemory as i32);
    }
    memory
}
