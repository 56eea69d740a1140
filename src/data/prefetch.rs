//! Items made ahead of time.

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
        scope.spawn(move || {
            for item in items {
                if sender.send(item).is_err() {
                    return; // nobody wants more
                }
            }
        });
        consume(receiver) // drops the receiver, which ends the thread
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
    fn no_more_is_made_than_is_asked_for() {
        let made = AtomicUsize::new(0);
        let items = std::iter::repeat_with(|| made.fetch_add(1, Ordering::Relaxed));
        let third = prefetch(items, 2, |items| items.iter().nth(2));
        assert_eq!(third, Some(2));
        // Three were taken, two wait, and one may be in the making.
        assert!(made.load(Ordering::Relaxed) <= 6);
    }
}
