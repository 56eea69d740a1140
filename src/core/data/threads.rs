//! Work on other threads: a map over items, and items made ahead of time.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Returns `f` of every item, in the order of the items. Each CPU core takes the next item as soon as it has
/// finished one.
pub(crate) fn map<'a, T: Sync, R: Send>(items: &'a [T], f: impl Fn(&'a T) -> R + Sync) -> Vec<R> {
    if items.len() <= 1 {
        return items.iter().map(f).collect(); // asking for the number of cores takes longer than one item
    }
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            done.push((index, f(item)));
        }
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(|worker| worker.join());
        results.flat_map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Calls `consume` with a channel that yields `items` in order. Another thread makes the items, at most `ahead`
/// of them before they are received, and stops when `consume` returns.
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
                    return; // the receiver is gone
                }
            }
        });
        // The call drops the receiver, which ends the thread.
        let result = catch_unwind(AssertUnwindSafe(|| consume(receiver)));
        // If the thread panicked, its panic is the reason why items were missing.
        maker.join().unwrap_or_else(|panic| resume_unwind(panic));
        result.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        for n in [0, 1, 2, 1000] {
            let items: Vec<usize> = (0..n).collect();
            assert_eq!(map(&items, |i| i * i), items.iter().map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "item 7")]
    fn a_panic_is_passed_on() {
        map(&(0..100).collect::<Vec<_>>(), |&i| assert!(i != 7, "item 7"));
    }

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
