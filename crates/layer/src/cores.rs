//! Runs work on all cores, in threads of its own. A pool that lends its waiting threads to other
//! work (such as rayon's) must not be used under a lock: the borrowed thread may wait for that same
//! lock.

use base::error::Result;
use base::sync::lock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Calls `work` for each item, on as many threads as there are cores. The first error stops it.
pub(super) fn each<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    if cores < 2 {
        return items.iter().try_for_each(work);
    }
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let serve = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(item) {
                lock(&failure).get_or_insert(error);
                next.store(items.len(), Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        (1..cores).for_each(|_| drop(scope.spawn(serve)));
        serve();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::error::{Error, Kind};

    #[test]
    fn each_item_is_done_once_and_the_first_error_ends_it() {
        let done: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        each(&done, |count| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .expect("nothing fails");
        assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        let failed = each(&[1, 2, 3], |number| match number {
            2 => Err(Error::new(Kind::Store, "two")),
            _ => Ok(()),
        });
        assert_eq!(failed.map_err(|error| error.message().to_owned()), Err("two".to_owned()));
    }
}
