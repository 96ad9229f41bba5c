//! Slows down those who guess passwords: the more logins from an address failed lately, the longer the next ones wait.
//!
//! The failures of an address are counted in fields that addresses share by chance: two rows, in each of which an address has the
//! field that a hash with a secret seed gives it, and the lower count holds (a count-min sketch). So the table has one size for ever,
//! no address can be pushed out of it by others, and somebody with many addresses slows down next to nobody else: failures from
//! 4,096 of them slow down about one other in twenty, those with which they share both fields.
//!
//! Counted by address are IPv4 hosts and IPv6 networks of 64 bits, of which one host has all. A login that succeeds forgives nothing:
//! who has one password could guess at another's between two logins. One failure is forgotten every 20 seconds.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    time::{Duration, Instant},
};

use super::Network;

/// Fields in a row.
const FIELDS: usize = 16_384;
const ROWS: usize = 2;
/// Failures that cost nothing: people mistype, and applications are configured wrong for a moment.
const FREE: u32 = 3;
/// The delay after the first failure that costs one; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(100);
/// More failures are not counted, so that they are forgotten within minutes.
pub(super) const MOST: u32 = 16;
/// After this long one failure is forgotten.
const FORGET: Duration = Duration::from_secs(20);

/// What is known of failed logins. It does no waiting of its own, and takes the time as an argument.
pub struct Throttle {
    longest: Duration,
    seed: u64,
    started: Instant,
    fields: Box<[Field]>,
}

/// Failures, as of a time in milliseconds since the start.
#[derive(Debug, Clone, Copy, Default)]
struct Field {
    at: u64,
    failures: u32,
}

impl Throttle {
    /// Without any failures. No delay is longer than `longest`; with zero there is none. `seed` must be random, and known to nobody.
    #[must_use]
    pub fn new(longest: Duration, seed: u64, now: Instant) -> Self {
        let fields = if longest.is_zero() { 0 } else { FIELDS * ROWS };
        Self {
            longest,
            seed,
            started: now,
            fields: vec![Field::default(); fields].into(),
        }
    }

    /// Changes the longest delay. What is known of failures stays, unless there shall be no delay at all.
    pub fn set_longest(&mut self, longest: Duration) {
        if longest.is_zero() != self.longest.is_zero() {
            let fields = if longest.is_zero() { 0 } else { FIELDS * ROWS };
            self.fields = vec![Field::default(); fields].into();
        }
        self.longest = longest;
    }

    /// How long an answer to a login from `address` is to be delayed, whatever it will be.
    #[must_use]
    pub fn delay(&self, address: IpAddr, now: Instant) -> Duration {
        self.after(self.failures(address, now))
    }

    /// The same where `ahead` further logins from there came before and are not judged yet: each counts as one that has failed, once
    /// any has failed lately. Where none has, none counts: applications log in on many connections at once.
    #[must_use]
    pub fn delay_behind(&self, address: IpAddr, ahead: usize, now: Instant) -> Duration {
        match self.failures(address, now) {
            0 => Duration::ZERO,
            failures => self.after(failures.saturating_add(ahead.try_into().unwrap_or(MOST))),
        }
    }

    /// Whether there is any delay at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.longest.is_zero()
    }

    fn after(&self, failures: u32) -> Duration {
        match failures.min(MOST).saturating_sub(FREE) {
            0 => Duration::ZERO,
            costly => FIRST.saturating_mul(1 << (costly - 1)).min(self.longest),
        }
    }

    /// Takes note of a login from `address` that failed.
    pub fn failed(&mut self, address: IpAddr, now: Instant) {
        let at = self.millis(now);
        for place in self.places(address) {
            if let Some(field) = self.fields.get_mut(place) {
                field.advance(at);
                field.failures = (field.failures + 1).min(MOST);
            }
        }
    }

    /// The failures of `address` that are not forgotten yet; too many rather than too few.
    fn failures(&self, address: IpAddr, now: Instant) -> u32 {
        let at = self.millis(now);
        let counts = self.places(address).map(|place| {
            let mut field = self.fields.get(place).copied().unwrap_or_default();
            field.advance(at);
            field.failures
        });
        counts.into_iter().min().unwrap_or_default()
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_millis() as u64
    }

    fn places(&self, address: IpAddr) -> [usize; ROWS] {
        let mut hasher = DefaultHasher::new();
        self.seed.hash(&mut hasher);
        Network::counted_as(address).hash(&mut hasher);
        let hash = hasher.finish();
        [hash as usize % FIELDS, FIELDS + (hash >> 32) as usize % FIELDS]
    }
}

impl Field {
    /// Forgets what is to be forgotten by now; what remains of a step counts for the next one.
    fn advance(&mut self, at: u64) {
        let steps = at.saturating_sub(self.at) / FORGET.as_millis() as u64;
        if steps >= u64::from(self.failures) {
            *self = Self { at, failures: 0 };
        } else {
            self.failures -= steps as u32;
            self.at += steps * FORGET.as_millis() as u64;
        }
    }
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle")
            .field("longest", &self.longest)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(5);

    fn after(throttle: &mut Throttle, from: IpAddr, failures: usize, now: Instant) -> u128 {
        for _ in 0..failures {
            throttle.failed(from, now);
        }
        throttle.delay(from, now).as_millis()
    }

    #[test]
    fn delays_grow_to_the_longest_and_are_forgotten_after_a_while() {
        let now = Instant::now();
        let mut throttle = Throttle::new(LONGEST, 1, now);
        let from = IpAddr::from([10, 0, 0, 1]);
        let delays: Vec<_> = (0..12)
            .map(|count| after(&mut throttle, from, usize::from(count > 0), now))
            .collect();
        assert_eq!(delays, [0, 0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(after(&mut throttle, from, 1000, now), 5000);
        let later = |seconds| {
            throttle
                .delay(from, now + Duration::from_secs(seconds))
                .as_millis()
        };
        // Sixteen are counted; thirteen forgotten, three are free.
        assert_eq!(
            (later(19), later(239), later(240), later(260)),
            (5000, 200, 100, 0)
        );
        assert_eq!(throttle.delay(IpAddr::from([10, 0, 0, 2]), now), Duration::ZERO);
    }

    #[test]
    fn a_slow_trickle_of_failures_is_never_slowed() {
        let start = Instant::now();
        let mut throttle = Throttle::new(LONGEST, 1, start);
        let from = IpAddr::from([10, 0, 0, 1]);
        for turn in 0..1000 {
            let now = start + Duration::from_secs(turn * 20);
            assert_eq!(after(&mut throttle, from, 1, now), 0);
        }
    }

    #[test]
    fn addresses_of_one_host_are_one() {
        let now = Instant::now();
        let mut throttle = Throttle::new(LONGEST, 1, now);
        throttle_all(
            &mut throttle,
            &[
                "2001:db8::1",
                "2001:db8::2",
                "2001:db8::ffff:3",
                "2001:db8:0:0:9::",
            ],
            now,
        );
        assert_eq!(
            throttle.delay("2001:db8::77".parse().unwrap(), now).as_millis(),
            100
        );
        assert_eq!(
            throttle
                .delay("2001:db8:0:1::77".parse().unwrap(), now)
                .as_millis(),
            0
        );
        throttle_all(
            &mut throttle,
            &["10.1.1.1", "::ffff:10.1.1.1", "10.1.1.1", "10.1.1.1"],
            now,
        );
        assert_eq!(
            throttle
                .delay("::ffff:10.1.1.1".parse().unwrap(), now)
                .as_millis(),
            100
        );
        assert_eq!(throttle.delay("10.1.1.2".parse().unwrap(), now).as_millis(), 0);
    }

    fn throttle_all(throttle: &mut Throttle, from: &[&str], now: Instant) {
        from.iter()
            .for_each(|from| throttle.failed(from.parse().unwrap(), now));
    }

    #[test]
    fn many_addresses_push_nobody_out_and_slow_few_others() {
        let now = Instant::now();
        let mut throttle = Throttle::new(LONGEST, 7, now);
        let guesser = IpAddr::from([10, 0, 0, 1]);
        after(&mut throttle, guesser, 10, now);
        for network in 0..4096_u16 {
            let from = Ipv6Addr::new(0x2001, 0xdb8, 1, network, 0, 0, 0, 1);
            after(&mut throttle, from.into(), 10, now);
        }
        assert_eq!(throttle.delay(guesser, now), LONGEST);
        let slowed = (0..10_000_u32).filter(|host| {
            let host = Ipv4Addr::from_bits(0x0b00_0000 + host);
            !throttle.delay(host.into(), now).is_zero()
        });
        let slowed = slowed.count();
        assert!(slowed < 800, "{slowed} of 10000");
    }

    #[test]
    fn the_longest_delay_changes_and_failures_stay_known() {
        let (now, from) = (Instant::now(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut throttle = Throttle::new(LONGEST, 1, now);
        assert_eq!(after(&mut throttle, from, 16, now), LONGEST.as_millis());
        throttle.set_longest(LONGEST / 5);
        assert_eq!(throttle.delay(from, now), LONGEST / 5);
        throttle.set_longest(Duration::ZERO);
        assert_eq!(throttle.delay(from, now), Duration::ZERO);
        throttle.set_longest(LONGEST);
        assert_eq!(throttle.delay(from, now), Duration::ZERO, "they were forgotten");
        assert_eq!(after(&mut throttle, from, 16, now), LONGEST.as_millis());
    }

    #[test]
    fn without_a_longest_delay_there_is_none_and_nothing_is_kept() {
        let now = Instant::now();
        let mut throttle = Throttle::new(Duration::ZERO, 1, now);
        assert_eq!(after(&mut throttle, IpAddr::from([10, 0, 0, 1]), 100, now), 0);
        assert!(throttle.fields.is_empty());
    }

    proptest! {
        #[test]
        fn nobody_is_slowed_less_than_their_own_failures_demand(
            seed in any::<u64>(), steps in prop::collection::vec((0u8..4, 0u64..30_000), 0..200),
        ) {
            let mut now = Instant::now();
            let mut shared = Throttle::new(LONGEST, seed, now);
            let mut own = [(); 4].map(|()| Throttle::new(LONGEST, seed, now));
            for (host, millis) in steps {
                now += Duration::from_millis(millis);
                let from = IpAddr::from([10, 0, 0, host]);
                shared.failed(from, now);
                own[usize::from(host)].failed(from, now);
                for host in 0..4 {
                    let from = IpAddr::from([10, 0, 0, host]);
                    prop_assert!(shared.delay(from, now) >= own[usize::from(host)].delay(from, now));
                    prop_assert!(shared.delay(from, now) <= LONGEST);
                }
            }
        }
    }
}
