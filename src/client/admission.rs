//! Who may connect: bounds on clients in all, per address, and on those that have not logged in.
//!
//! A client of a listener that demands a login counts as a stranger until it has logged in, and again once it has logged out. Drivers'
//! monitoring connections never log in, and are strangers for ever: what tells them from others that take up places is only what
//! they are silent about, so they count. Strangers beyond the bound are refused when they connect, and those who are logged in
//! keep their places, whatever strangers do.
//!
//! An address gets another stranger's place only while it holds fewer of them than are free: so one address takes half of them at most, a
//! second one half of the rest, and whoever comes from elsewhere can log in though somebody takes all that he can get.
//! What is on this host (sidecars, all under one address) is exempt from that.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{auth::Network, telemetry::ClientRefusal};

/// The bounds and the count. Clones share both.
#[derive(Debug, Clone)]
pub struct Admission {
    present: Arc<Mutex<Present>>,
}

#[derive(Debug, Default)]
struct Present {
    max: usize,
    max_per_address: Option<usize>,
    max_strangers: usize,
    total: usize,
    strangers: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Strangers by the address that they are counted by ([`Network::counted_as`]).
    strangers_by_address: HashMap<IpAddr, usize>,
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
    /// Of the places for those that have not logged in, so many are held from there, and no more are free.
    #[error(
        "{here} clients are connected from {address} that have not logged in, and no more such places are free: one address gets no \
         more of them (raise [limits] max_unauthenticated if many applications connect from there)"
    )]
    StrangersShare {
        /// The address, or the IPv6 network.
        address: IpAddr,
        /// Its strangers.
        here: usize,
    },
}

impl Refusal {
    /// Which bound it was.
    pub(super) fn reason(&self) -> ClientRefusal {
        match self {
            Self::Full(_) => ClientRefusal::Full,
            Self::AddressFull(_) => ClientRefusal::AddressFull,
            Self::StrangersFull(_) | Self::StrangersShare { .. } => ClientRefusal::StrangersFull,
        }
    }
}

impl Admission {
    /// Bounds without clients.
    #[must_use]
    pub fn new(max: usize, max_per_address: Option<usize>, max_strangers: usize) -> Self {
        let admission = Self {
            present: Arc::default(),
        };
        admission.set_bounds(max, max_per_address, max_strangers);
        admission
    }

    /// Changes the bounds. Who is connected stays, beyond them, too.
    pub fn set_bounds(&self, max: usize, max_per_address: Option<usize>, max_strangers: usize) {
        let mut present = self.lock();
        present.max = max;
        present.max_per_address = max_per_address;
        present.max_strangers = max_strangers;
    }

    /// Lets a client in, which counts as a stranger until it has logged in if that `demands_login`. One without an address, on a Unix
    /// domain socket, does not count towards those of an address.
    ///
    /// # Errors
    /// When a bound is reached.
    pub fn admit(&self, address: Option<IpAddr>, demands_login: bool) -> Result<Admitted, Refusal> {
        let mut present = self.lock();
        if present.total >= present.max {
            return Err(Refusal::Full(present.max));
        }
        if demands_login && present.strangers >= present.max_strangers {
            return Err(Refusal::StrangersFull(present.max_strangers));
        }
        if let Some(address) = address.filter(|_| demands_login).and_then(shared_by) {
            let here = count_of(&present.strangers_by_address, address);
            if here >= present.max_strangers - present.strangers {
                return Err(Refusal::StrangersShare { address, here });
            }
        }
        if let Some(address) = address {
            let here = count_of(&present.by_address, address);
            if let Some(max) = present.max_per_address.filter(|max| here >= *max) {
                return Err(Refusal::AddressFull(max));
            }
            present.by_address.insert(address, here + 1);
        }
        present.total += 1;
        if demands_login {
            present.add_stranger(address);
        }
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
            self.admission.lock().remove_stranger(self.address);
        }
    }

    /// Counts the client as a stranger again, even beyond the bound: it is refused no place that it has.
    pub fn logged_out(&mut self) {
        if !std::mem::replace(&mut self.is_stranger, true) {
            self.admission.lock().add_stranger(self.address);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut present = self.admission.lock();
        present.total -= 1;
        if self.is_stranger {
            present.remove_stranger(self.address);
        }
        if let Some(address) = self.address {
            take_one(&mut present.by_address, address);
        }
    }
}

impl Present {
    fn add_stranger(&mut self, address: Option<IpAddr>) {
        self.strangers += 1;
        if let Some(address) = address.and_then(shared_by) {
            *self.strangers_by_address.entry(address).or_default() += 1;
        }
    }

    fn remove_stranger(&mut self, address: Option<IpAddr>) {
        self.strangers -= 1;
        if let Some(address) = address.and_then(shared_by) {
            take_one(&mut self.strangers_by_address, address);
        }
    }
}

/// The address whose strangers are bounded together; `None` on this host, where all applications have the same.
fn shared_by(address: IpAddr) -> Option<IpAddr> {
    (!address.to_canonical().is_loopback()).then(|| Network::counted_as(address))
}

fn count_of(counts: &HashMap<IpAddr, usize>, address: IpAddr) -> usize {
    counts.get(&address).copied().unwrap_or_default()
}

/// Counts one less, and forgets an address that has none left.
fn take_one(counts: &mut HashMap<IpAddr, usize>, address: IpAddr) {
    if let Some(here) = counts.get_mut(&address) {
        *here -= 1;
        if *here == 0 {
            counts.remove(&address);
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
    fn bounds_change_and_who_is_there_stays() {
        let admission = Admission::new(2, None, 2);
        let places = [admission.admit(None, true), admission.admit(None, true)].map(Result::unwrap);
        admission.set_bounds(1, Some(1), 1);
        assert_eq!(admission.admit(None, false).unwrap_err(), Refusal::Full(1));
        assert_eq!(admission.count(), 2);
        admission.set_bounds(3, Some(1), 3);
        let from = "10.0.0.1".parse().ok();
        let _third = admission.admit(from, false).unwrap();
        drop(places);
        assert_eq!(admission.admit(from, false).unwrap_err(), Refusal::AddressFull(1));
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

    /// Has strangers connect from there for as long as they are let in.
    fn flood(admission: &Admission, from: &str) -> Vec<Admitted> {
        let from = Some(from.parse().unwrap());
        std::iter::from_fn(|| admission.admit(from, true).ok()).collect()
    }

    #[test]
    fn one_address_leaves_places_for_strangers_from_elsewhere() {
        let admission = Admission::new(1000, None, 100);
        let first = flood(&admission, "10.0.0.1");
        assert_eq!(first.len(), 50);
        let refusal = admission.admit("10.0.0.1".parse().ok(), true).unwrap_err();
        let address = "10.0.0.1".parse().unwrap();
        assert_eq!(refusal, Refusal::StrangersShare { address, here: 50 });
        assert!(refusal.to_string().contains("max_unauthenticated"), "{refusal}");
        let second = flood(&admission, "10.0.0.2");
        assert_eq!(second.len(), 25);
        // Each of many hosts gets one, as long as there are any.
        let more: Vec<_> = (3..=27)
            .flat_map(|host| admission.admit(Some([10, 0, 0, host].into()), true))
            .collect();
        assert_eq!((more.len(), admission.strangers()), (25, 100));
        let full = Err(Refusal::StrangersFull(100));
        assert_eq!(
            admission.admit(Some([10, 0, 1, 1].into()), true).map(|_| ()),
            full
        );
        drop((second, more));
        // Its own are no more because others have left, up to half of all.
        assert!(admission.admit("10.0.0.1".parse().ok(), true).is_err());
        drop(first);
        assert!(admission.lock().strangers_by_address.is_empty());
    }

    #[test]
    fn the_only_place_is_anybodys() {
        let admission = Admission::new(10, None, 1);
        assert_eq!(flood(&admission, "10.0.0.1").len(), 1);
    }

    #[test]
    fn an_ipv6_network_of_a_host_is_one_address() {
        let admission = Admission::new(1000, None, 8);
        let _here = flood(&admission, "2001:db8::1");
        let again = flood(&admission, "2001:db8::ffff:2");
        let elsewhere = flood(&admission, "2001:db8:0:1::1");
        let mapped = flood(&admission, "::ffff:10.0.0.1");
        assert_eq!((again.len(), elsewhere.len(), mapped.len()), (0, 2, 1));
        assert!(flood(&admission, "10.0.0.1").is_empty(), "the same host");
    }

    #[test]
    fn what_is_on_this_host_may_take_all_but_not_more() {
        for address in [None, Some("127.0.0.1"), Some("::1"), Some("::ffff:127.0.0.1")] {
            let admission = Admission::new(10, None, 4);
            let address = address.map(|text| text.parse().unwrap());
            let _all: Vec<_> = (0..4).map(|_| admission.admit(address, true).unwrap()).collect();
            assert_eq!(
                admission.admit(address, true).unwrap_err(),
                Refusal::StrangersFull(4)
            );
        }
    }

    #[test]
    fn a_login_frees_a_place_of_its_address_and_a_logout_takes_one_beyond_the_bound() {
        let admission = Admission::new(10, None, 4);
        let mut here = flood(&admission, "10.0.0.1");
        assert_eq!(here.len(), 2);
        here.iter_mut().for_each(Admitted::logged_in);
        let more = flood(&admission, "10.0.0.1");
        assert_eq!(more.len(), 2);
        here.iter_mut().for_each(Admitted::logged_out);
        let mut elsewhere = flood(&admission, "10.0.0.2");
        assert!(elsewhere.is_empty());
        here.iter_mut().for_each(Admitted::logged_in);
        elsewhere = flood(&admission, "10.0.0.2");
        elsewhere.iter_mut().for_each(Admitted::logged_in);
        here.iter_mut().for_each(Admitted::logged_out);
        elsewhere.iter_mut().for_each(Admitted::logged_out);
        assert_eq!(admission.strangers(), 5);
        assert!(admission.admit(Some([10, 0, 0, 3].into()), true).is_err());
    }
}
