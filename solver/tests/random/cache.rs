//! A cache that loses records.

use crate::program::Random;
use crate::toys::Stack;
use solver::memory::{MemoryCache, MemoryLock};
use solver::{Cache, Key, Shelf};
use std::collections::HashSet;
use std::sync::Mutex;

#[derive(Default)]
pub struct Lossy {
    inner: MemoryCache<Stack>,
    known: Mutex<Vec<(Shelf, Key)>>,
    lost: Mutex<HashSet<(Shelf, Key)>>,
}

impl Lossy {
    /// Loses about a third of all records.
    pub fn lose(&self, random: &mut Random) {
        let known = self.known.lock().unwrap();
        self.lost.lock().unwrap().extend(known.iter().filter(|_| random.chance(33)));
    }
}

impl Cache<Stack> for Lossy {
    type Lock = MemoryLock;

    fn get(&self, shelf: Shelf, key: &Key) -> Vec<Stack> {
        if self.lost.lock().unwrap().contains(&(shelf, *key)) { Vec::new() } else { self.inner.get(shelf, key) }
    }

    fn put(&self, shelf: Shelf, key: &Key, output: &Stack, description: &str) {
        assert_eq!(solver::key::key_of_text(description), Some(*key), "{description}");
        self.lost.lock().unwrap().remove(&(shelf, *key));
        self.known.lock().unwrap().push((shelf, *key));
        self.inner.put(shelf, key, output, description);
    }

    fn try_lock(&self, key: &Key) -> Result<MemoryLock, String> {
        self.inner.try_lock(key)
    }
}
