//! Library code that may panic on damaged input.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

/// An error that can stand for a panic.
pub(super) trait Panicked {
    fn panicked() -> Self;
}

const DAMAGED: &str = "the bytes contradict each other";

impl Panicked for ArrowError {
    fn panicked() -> Self {
        ArrowError::ParseError(DAMAGED.into())
    }
}

impl Panicked for ParquetError {
    fn panicked() -> Self {
        ParquetError::General(DAMAGED.into())
    }
}

thread_local! {
    /// Whether a panic of this thread becomes an error.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What `read` returns, or an error if it panics, which readers of Parquet and Arrow do on some damaged files. The panic
/// prints nothing.
pub(super) fn guarded<T, E: Panicked>(read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_GUARDED.get() {
                usual(info);
            }
        }));
    });
    let was_guarded = IS_GUARDED.replace(true);
    // What a panic leaves behind is not used again: the caller returns the error.
    let read = catch_unwind(AssertUnwindSafe(read));
    IS_GUARDED.set(was_guarded);
    read.unwrap_or_else(|_| Err(E::panicked()))
}
