//! The workers: threads that are started when there is work for them, and two queues: steps, and what can wait. What can
//! wait takes cores, and it may wait itself (for a layer that another thread is packing): so it has only half as many
//! threads as there are cores, and never all of them, and a step finds one free.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

/// One piece of work.
pub(crate) type Job<'a> = Box<dyn FnOnce() + Send + 'a>;

/// A pool of at most `limit` threads, and one more for what can wait.
pub(crate) struct Pool<'job> {
    limit: usize,
    /// For what can wait.
    behind: usize,
    queues: Mutex<Queues<'job>>,
    changed: Condvar,
}

#[derive(Default)]
struct Queues<'job> {
    steps: VecDeque<Job<'job>>,
    later: VecDeque<Job<'job>>,
    threads: usize,
    idle: usize,
    /// Jobs of `later` that run now.
    waiting: usize,
    closed: bool,
    panicked: bool,
}

impl<'job> Pool<'job> {
    pub(crate) fn new(limit: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let behind = (cores.min(limit) / 2).max(1);
        Pool { limit: limit.max(1), behind, queues: Mutex::default(), changed: Condvar::new() }
    }

    /// Does a step as soon as a thread is free.
    pub(crate) fn run<'scope, 'env>(&'env self, scope: &'scope Scope<'scope, 'env>, job: Job<'job>) {
        self.lock().steps.push_back(job);
        self.wake(scope);
    }

    /// Does something when no step is waiting.
    pub(crate) fn later<'scope, 'env>(&'env self, scope: &'scope Scope<'scope, 'env>, job: Job<'job>) {
        self.lock().later.push_back(job);
        self.wake(scope);
    }

    /// Lets the threads end; with `drop_later`, without what can wait.
    pub(crate) fn close(&self, drop_later: bool) {
        let mut queues = self.lock();
        queues.closed = true;
        if drop_later {
            queues.later.clear();
        }
        drop(queues);
        self.changed.notify_all();
    }

    /// True if a job died of a bug: its message never comes.
    pub(crate) fn panicked(&self) -> bool {
        self.lock().panicked
    }

    fn wake<'scope, 'env>(&'env self, scope: &'scope Scope<'scope, 'env>) {
        let mut queues = self.lock();
        let waiting = queues.steps.len() + queues.later.len();
        if queues.idle < waiting && queues.threads <= self.limit {
            queues.threads += 1;
            scope.spawn(|| self.serve());
        }
        drop(queues);
        self.changed.notify_one();
    }

    fn serve(&self) {
        let mut queues = self.lock();
        loop {
            let step = queues.steps.pop_front();
            let free = queues.closed || queues.waiting < self.behind;
            let can_wait = step.is_none() && free && !queues.later.is_empty();
            let job = if can_wait { queues.later.pop_front() } else { step };
            if let Some(job) = job {
                queues.waiting += usize::from(can_wait);
                drop(queues);
                let panicked = catch_unwind(AssertUnwindSafe(job)).is_err();
                queues = self.lock();
                queues.waiting -= usize::from(can_wait);
                queues.panicked |= panicked;
            } else if queues.closed {
                return;
            } else {
                queues.idle += 1;
                queues = self.changed.wait(queues).unwrap_or_else(PoisonError::into_inner);
                queues.idle -= 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues<'job>> {
        // A job that panicked did not hold the lock: what it guards is whole.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
