//! Who may connect: bounds on clients in all and per address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The bounds and the count. Clones share both.
#[derive(Debug, Clone)]
pub struct Admission {
    max: usize,
    max_per_address: Option<usize>,
    present: Arc<Mutex<Present>>,
}

#[derive(Debug, Default)]
struct Present {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A client's place; given up on drop.
#[derive(Debug)]
pub struct Admitted {
    admission: Admission,
    /// None for a client on this host, which has no address to be counted by.
    address: Option<IpAddr>,
}

/// Why a client may not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `max_clients` are connected.
    #[error("{0} clients are connected ([limits] max_clients)")]
    Full(usize),
    /// `max_clients_per_address` are connected from there.
    #[error("{0} clients are connected from this address ([limits] max_clients_per_address)")]
    AddressFull(usize),
}

impl Admission {
    /// Bounds without clients.
    #[must_use]
    pub fn new(max: usize, max_per_address: Option<usize>) -> Self {
        Self {
            max,
            max_per_address,
            present: Arc::default(),
        }
    }

    /// Lets a client in. One without an address, on a Unix domain socket, counts only towards all.
    ///
    /// # Errors
    /// When a bound is reached.
    pub fn admit(&self, address: Option<IpAddr>) -> Result<Admitted, Refusal> {
        let mut present = self.lock();
        if present.total >= self.max {
            return Err(Refusal::Full(self.max));
        }
        if let Some(address) = address {
            let here = present.by_address.get(&address).copied().unwrap_or_default();
            if let Some(max) = self.max_per_address.filter(|max| here >= *max) {
                return Err(Refusal::AddressFull(max));
            }
            present.by_address.insert(address, here + 1);
        }
        present.total += 1;
        Ok(Admitted {
            admission: self.clone(),
            address,
        })
    }

    /// How many clients are connected.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut present = self.admission.lock();
        present.total -= 1;
        let Some(address) = self.address else {
            return;
        };
        if let Some(here) = present.by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                present.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_places_are_given_back() {
        let admission = Admission::new(3, Some(2));
        let [a, b] = [1, 2].map(|host| Some(IpAddr::from([10, 0, 0, host])));
        let first = admission.admit(a).unwrap();
        let _second = admission.admit(a).unwrap();
        assert_eq!(admission.admit(a).unwrap_err(), Refusal::AddressFull(2));
        let _third = admission.admit(b).unwrap();
        assert_eq!(admission.admit(b).unwrap_err(), Refusal::Full(3));
        drop(first);
        assert_eq!(admission.count(), 2);
        assert!(admission.admit(a).is_ok());
        assert_eq!(admission.lock().by_address.len(), 2);
    }

    #[test]
    fn clients_without_an_address_count_only_towards_all() {
        let admission = Admission::new(2, Some(1));
        let _first = admission.admit(None).unwrap();
        let second = admission.admit(None).unwrap();
        assert_eq!(admission.admit(None).unwrap_err(), Refusal::Full(2));
        drop(second);
        assert_eq!((admission.count(), admission.lock().by_address.len()), (1, 0));
    }
}
