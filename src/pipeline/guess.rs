//! A plan made of what names stood for last time, while their registries are asked whether they still do. It is never
//! built: it tells whom to ask, all at once, and which files to look at in the meantime.

use super::resolver::Resolver;
use crate::sync::lock;
use frontend::platform::Platform;
use frontend::resolve::{Resolve, ResolveError, Resolved};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Answers without asking anybody.
pub(super) struct Guess<'a> {
    resolver: &'a Resolver<'a>,
    asked: Mutex<BTreeSet<(String, Platform)>>,
}

impl<'a> Guess<'a> {
    pub(super) fn new(resolver: &'a Resolver<'a>) -> Guess<'a> {
        Guess { resolver, asked: Mutex::default() }
    }

    /// The names that registries must be asked for.
    pub(super) fn asked(self) -> BTreeSet<(String, Platform)> {
        self.asked.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown() -> ResolveError {
    ResolveError { message: "nobody has asked for it yet".to_owned(), hint: None }
}

impl Resolve for Guess<'_> {
    fn named(&self, name: &str, platform: &Platform) -> Result<Option<Resolved>, ResolveError> {
        match self.resolver.is_given(name) {
            // Whatever it is, the true plan finds out.
            true => Err(unknown()),
            false => self.resolver.named(name, platform),
        }
    }

    fn image(&self, name: &str, platform: &Platform) -> Result<Resolved, ResolveError> {
        if let Some(built) = self.resolver.built_unless_pull(name, platform) {
            return Ok(built);
        }
        let key = (name.to_owned(), platform.clone());
        lock(&self.asked).insert(key);
        self.resolver.guessed(name, platform).ok_or_else(unknown)
    }
}
