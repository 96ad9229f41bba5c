//! Which drivers are connected: counted by name and version, in bounded room.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::hello::Metadata;
use crate::telemetry::busiest::hash_of;

/// Most different drivers that are told apart; clients choose these names freely.
const MOST: usize = 100;
/// The name under which all others are counted.
const OTHERS: &str = "(others)";

/// Names a driver: its name and its version.
type Key = (String, String);

/// The drivers of the clients that are connected now. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct Drivers(Arc<Mutex<BTreeMap<Key, usize>>>);

/// A client that has described itself; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Described {
    drivers: Drivers,
    key: Key,
    application: Option<Box<str>>,
    application_hash: u64,
}

impl Described {
    /// The driver's name and version.
    pub(super) fn driver(&self) -> (&str, &str) {
        (&self.key.0, &self.key.1)
    }

    /// The number of that name, under which its commands are counted.
    pub(super) fn application_hash(&self) -> u64 {
        self.application_hash
    }

    /// What the application calls itself.
    pub(super) fn application(&self) -> Option<&str> {
        self.application.as_deref()
    }
}

impl Drivers {
    /// Counts a client.
    pub(super) fn count(&self, metadata: Metadata) -> Arc<Described> {
        let mut key = (metadata.driver, metadata.version);
        let mut counts = self.lock();
        if counts.len() >= MOST && !counts.contains_key(&key) {
            key = (OTHERS.to_owned(), String::new());
        }
        *counts.entry(key.clone()).or_default() += 1;
        Arc::new(Described {
            drivers: self.clone(),
            key,
            application_hash: hash_of([
                metadata.application.as_deref().unwrap_or_default().as_bytes(),
                b"",
            ]),
            application: metadata.application.map(String::into_boxed_str),
        })
    }

    /// Name, version and count of each driver.
    #[must_use]
    pub fn list(&self) -> Vec<(String, String, usize)> {
        let counts = self.lock();
        let counts = counts.iter();
        counts
            .map(|((name, version), count)| (name.clone(), version.clone(), *count))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Described {
    fn drop(&mut self) {
        let mut counts = self.drivers.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(driver: &str) -> Metadata {
        Metadata {
            driver: driver.to_owned(),
            version: "1".to_owned(),
            application: None,
        }
    }

    #[test]
    fn clients_are_counted_while_they_are_there() {
        let drivers = Drivers::default();
        let (first, _second) = (drivers.count(client("a")), drivers.count(client("a")));
        let _other = drivers.count(client("b"));
        let row = |name: &str, count| (name.to_owned(), "1".to_owned(), count);
        assert_eq!(drivers.list(), [row("a", 2), row("b", 1)]);
        drop(first);
        assert_eq!(drivers.list(), [row("a", 1), row("b", 1)]);
    }

    #[test]
    fn names_beyond_the_bound_are_counted_together() {
        let drivers = Drivers::default();
        let clients: Vec<_> = (0..2 * MOST)
            .map(|number| drivers.count(client(&format!("d{number}"))))
            .collect();
        assert_eq!(drivers.list().len(), MOST + 1);
        assert_eq!(drivers.list()[0], (OTHERS.to_owned(), String::new(), MOST));
        drop(clients);
        assert!(drivers.list().is_empty());
    }
}
