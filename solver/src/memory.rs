//! A cache in memory: for tests, and for builds that must leave nothing behind.

use crate::engine::{Cache, Shelf};
use crate::key::Key;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Remembers outputs as long as it lives.
#[derive(Debug)]
pub struct MemoryCache<Output> {
    records: Mutex<HashMap<(Shelf, Key), Vec<Output>>>,
    locks: Arc<Mutex<HashSet<Key>>>,
}

impl<Output> Default for MemoryCache<Output> {
    fn default() -> Self {
        MemoryCache { records: Mutex::default(), locks: Arc::default() }
    }
}

/// Gives the key back when dropped.
#[derive(Debug)]
pub struct MemoryLock(Arc<Mutex<HashSet<Key>>>, Key);

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl<Output: Clone + Send> Cache<Output> for MemoryCache<Output> {
    type Lock = MemoryLock;

    fn get(&self, shelf: Shelf, key: &Key) -> Vec<Output> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.get(&(shelf, *key)).cloned().unwrap_or_default()
    }

    fn put(&self, shelf: Shelf, key: &Key, output: &Output, _description: &str) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.entry((shelf, *key)).or_default().insert(0, output.clone());
    }

    fn try_lock(&self, key: &Key) -> Result<MemoryLock, String> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.insert(*key) { Ok(MemoryLock(Arc::clone(&self.locks), *key)) } else { Err("this process".to_owned()) }
    }
}
