//! Who may connect: bounds on clients in all, per address, and on those that have not logged in.
//!
//! A client of a listener that demands a login counts as a stranger until it has logged in, and again once it has logged out. Drivers'
//! monitoring connections never log in, and are strangers for ever: what tells them from others that take up places is only what
//! they are silent about, so they count. Strangers beyond the bound are refused when they connect, and those who are logged in
//! keep their places, whatever strangers do.

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
    max_strangers: usize,
    present: Arc<Mutex<Present>>,
}

#[derive(Debug, Default)]
struct Present {
    total: usize,
    strangers: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A client's place; given up on drop.
#[derive(Debug)]
pub struct Admitted {
    admission: Admission,
    /// None for a client on this host, which has no address to be counted by.
    address: Option<IpAddr>,
    /// It has not logged in where that is demanded.
    is_stranger: bool,
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
    /// `max_unauthenticated` are connected that have not logged in.
    #[error("{0} clients are connected that have not logged in ([limits] max_unauthenticated)")]
    StrangersFull(usize),
}

impl Admission {
    /// Bounds without clients.
    #[must_use]
    pub fn new(max: usize, max_per_address: Option<usize>, max_strangers: usize) -> Self {
        Self {
            max,
            max_per_address,
            max_strangers,
            present: Arc::default(),
        }
    }

    /// Lets a client in, which counts as a stranger until it has logged in if that `demands_login`. One without an address, on a Unix
    /// domain socket, does not count towards those of an address.
    ///
    /// # Errors
    /// When a bound is reached.
    pub fn admit(&self, address: Option<IpAddr>, demands_login: bool) -> Result<Admitted, Refusal> {
        let mut present = self.lock();
        if present.total >= self.max {
            return Err(Refusal::Full(self.max));
        }
        if demands_login && present.strangers >= self.max_strangers {
            return Err(Refusal::StrangersFull(self.max_strangers));
        }
        if let Some(address) = address {
            let here = present.by_address.get(&address).copied().unwrap_or_default();
            if let Some(max) = self.max_per_address.filter(|max| here >= *max) {
                return Err(Refusal::AddressFull(max));
            }
            present.by_address.insert(address, here + 1);
        }
        present.total += 1;
        present.strangers += usize::from(demands_login);
        Ok(Admitted {
            admission: self.clone(),
            address,
            is_stranger: demands_login,
        })
    }

    /// How many clients are connected.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().total
    }

    /// How many clients have not logged in at listeners that demand it.
    #[must_use]
    pub fn strangers(&self) -> usize {
        self.lock().strangers
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Counts the client as logged in, so that it keeps no stranger's place.
    pub fn logged_in(&mut self) {
        if std::mem::take(&mut self.is_stranger) {
            self.admission.lock().strangers -= 1;
        }
    }

    /// Counts the client as a stranger again, even beyond the bound: it is refused no place that it has.
    pub fn logged_out(&mut self) {
        if !std::mem::replace(&mut self.is_stranger, true) {
            self.admission.lock().strangers += 1;
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut present = self.admission.lock();
        present.total -= 1;
        present.strangers -= usize::from(self.is_stranger);
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
        let admission = Admission::new(3, Some(2), 3);
        let [a, b] = [1, 2].map(|host| Some(IpAddr::from([10, 0, 0, host])));
        let first = admission.admit(a, false).unwrap();
        let _second = admission.admit(a, false).unwrap();
        assert_eq!(admission.admit(a, false).unwrap_err(), Refusal::AddressFull(2));
        let _third = admission.admit(b, false).unwrap();
        assert_eq!(admission.admit(b, false).unwrap_err(), Refusal::Full(3));
        drop(first);
        assert_eq!(admission.count(), 2);
        assert!(admission.admit(a, false).is_ok());
        assert_eq!(admission.lock().by_address.len(), 2);
    }

    #[test]
    fn clients_without_an_address_count_only_towards_all() {
        let admission = Admission::new(2, Some(1), 2);
        let _first = admission.admit(None, false).unwrap();
        let second = admission.admit(None, false).unwrap();
        assert_eq!(admission.admit(None, false).unwrap_err(), Refusal::Full(2));
        drop(second);
        assert_eq!((admission.count(), admission.lock().by_address.len()), (1, 0));
    }

    #[test]
    fn strangers_are_bounded_and_a_login_frees_the_place() {
        let admission = Admission::new(10, None, 2);
        let stranger = || admission.admit(None, true);
        let (mut first, second) = (stranger().unwrap(), stranger().unwrap());
        assert_eq!(stranger().unwrap_err(), Refusal::StrangersFull(2));
        assert!(admission.admit(None, false).is_ok(), "where no login is demanded");
        first.logged_in();
        first.logged_in();
        assert_eq!(admission.strangers(), 1);
        let third = stranger().unwrap();
        first.logged_out();
        first.logged_out();
        assert_eq!((admission.strangers(), admission.count()), (3, 3));
        drop((second, third));
        assert_eq!(admission.strangers(), 1);
        first.logged_in();
        drop(first);
        assert_eq!((admission.strangers(), admission.count()), (0, 0));
    }
}
