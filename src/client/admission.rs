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
    address: IpAddr,
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

    /// Lets a client in.
    ///
    /// # Errors
    /// When a bound is reached.
    pub fn admit(&self, address: IpAddr) -> Result<Admitted, Refusal> {
        let mut present = self.lock();
        if present.total >= self.max {
            return Err(Refusal::Full(self.max));
        }
        let here = present.by_address.get(&address).copied().unwrap_or_default();
        if let Some(max) = self.max_per_address.filter(|max| here >= *max) {
            return Err(Refusal::AddressFull(max));
        }
        present.total += 1;
        present.by_address.insert(address, here + 1);
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
        if let Some(here) = present.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                present.by_address.remove(&self.address);
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
        let [a, b]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
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
}
