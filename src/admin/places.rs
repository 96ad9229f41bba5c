//! Who may connect to the admin endpoint: so that nobody keeps its operator out by connecting often.
//!
//! Some places are for this host alone. Of the rest an address gets another only while it holds fewer than are free, and a quarter of all at
//! most; of IPv6 a network of 64 bits counts as one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::auth::Network;

/// Connections at once.
pub(super) const MOST: usize = 64;
/// Those of one address that is not this host's.
const MOST_OF_ONE: usize = MOST / 4;
/// Those that only this host gets.
const FOR_THIS_HOST: usize = 16;

/// The connections that are open. Clones share the count.
#[derive(Debug, Clone)]
pub(super) struct Places {
    is_this_host: fn(IpAddr) -> bool,
    /// Those of other hosts.
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place, given up on drop.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    /// None for this host.
    address: Option<IpAddr>,
}

impl Default for Places {
    fn default() -> Self {
        Self::new(|address| address.to_canonical().is_loopback())
    }
}

impl Places {
    /// All free. `is_this_host` tells which addresses are this host's own.
    pub(super) fn new(is_this_host: fn(IpAddr) -> bool) -> Self {
        Self {
            is_this_host,
            taken: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from there, of which fewer than [`MOST`] are open; `None` if others are to have what is left.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let address = (!(self.is_this_host)(address)).then(|| Network::counted_as(address));
        if let Some(address) = address {
            let mut taken = self.lock();
            let free = (MOST - FOR_THIS_HOST).saturating_sub(taken.values().sum());
            let here = taken.get(&address).copied().unwrap_or_default();
            if here >= free.min(MOST_OF_ONE) {
                return None;
            }
            taken.insert(address, here + 1);
        }
        Some(Place {
            places: self.clone(),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut taken = self.places.lock();
        match taken.get_mut(&address) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(taken.remove(&address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood(places: &Places, from: &str) -> Vec<Place> {
        std::iter::from_fn(|| places.take(from.parse().unwrap()))
            .take(MOST)
            .collect()
    }

    #[test]
    fn one_address_takes_a_quarter_and_others_find_places_and_this_host_always() {
        let places = Places::default();
        let first = flood(&places, "10.0.0.1");
        assert_eq!(first.len(), 16);
        let others: Vec<_> = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]
            .map(|from| flood(&places, from))
            .into();
        assert_eq!(others.iter().map(Vec::len).collect::<Vec<_>>(), [16, 8, 4, 2]);
        for host in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(flood(&places, host).len(), MOST, "{host}");
        }
        drop((first, others));
        assert!(places.lock().is_empty());
    }

    #[test]
    fn an_ipv6_network_of_a_host_is_one_address() {
        let places = Places::default();
        let _first = flood(&places, "2001:db8::1");
        assert!(places.take("2001:db8::2".parse().unwrap()).is_none());
        assert!(places.take("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}
