//! Items made ahead of time.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Calls `consume` with a channel that gives `items` in their order. A thread of its own makes them, at
/// most `ahead` of them before they are asked for, and stops when `consume` returns.
pub fn prefetch<T: Send, R>(
    items: impl Iterator<Item = T> + Send,
    ahead: usize,
    consume: impl FnOnce(Receiver<T>) -> R,
) -> R {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(ahead);
        let maker = scope.spawn(move || {
            for item in items {
                if sender.send(item).is_err() {
                    return; // nobody wants more
                }
            }
        });
        // The call drops the receiver, which ends the thread.
        let result = catch_unwind(AssertUnwindSafe(|| consume(receiver)));
        // Where the thread panicked, that is why no item came.
        maker.join().unwrap_or_else(|panic| resume_unwind(panic));
        result.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn items_come_in_their_order() {
        let items: Vec<u32> = prefetch(0..100, 2, |items| items.iter().collect());
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "no item")]
    fn a_panic_of_the_maker_is_that_of_the_call() {
        let items = (0..3).map(|i| if i == 2 { panic!("no item") } else { i });
        prefetch(items, 2, |items| (0..3).map(|_| items.recv().expect("an item")).sum::<i32>());
    }

    #[test]
    fn no_more_is_made_than_is_asked_for() {
        let made = AtomicUsize::new(0);
        let items = std::iter::repeat_with(|| made.fetch_add(1, Ordering::Relaxed));
        let third = prefetch(items, 2, |items| items.iter().nth(2));
        assert_eq!(third, Some(2));
        // Three were taken, two wait, and one may be in the making.
        assert!(made.load(Ordering::Relaxed) <= 6);
    }
}
