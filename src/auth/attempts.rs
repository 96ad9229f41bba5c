//! Logins under way, each of which may be a guess at a password until it has been judged.
//!
//! If a delay were worked out from failed logins alone, guesses that are sent at once would all wait as long as the first of them. So
//! those of an address stand in a line, in the order in which they began, and each waits as if all before it had failed
//! ([`Throttle::delay_behind`]). One that ends well leaves the line, by which those behind it are to wait less; one that fails counts in
//! the throttle instead, by which they wait as long as before. Nobody is refused, and nobody waits longer than the longest delay.
//!
//! Memory: an entry for each login under way, so it is bounded with the connections.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{Network, Throttle, throttle::MOST};

/// Failed logins and those under way. `W` is by what the owner of an attempt is told that it is to wait less.
#[derive(Debug)]
pub struct Attempts<W> {
    throttle: Throttle,
    next: u64,
    /// By the address that is counted, in the order of their numbers. No line is empty.
    lines: HashMap<IpAddr, Vec<(u64, W)>>,
}

impl<W> Attempts<W> {
    /// None under way, and failures as `throttle` knows them.
    #[must_use]
    pub fn new(throttle: Throttle) -> Self {
        Self {
            throttle,
            next: 0,
            lines: HashMap::new(),
        }
    }

    /// Changes the longest delay.
    pub fn set_longest(&mut self, longest: Duration) {
        self.throttle.set_longest(longest);
    }

    /// Begins a login from `address`; its number. It must be ended by [`Attempts::fail`] or [`Attempts::give_back`]. `None` where
    /// nothing is delayed.
    pub fn begin(&mut self, address: IpAddr, waker: W) -> Option<u64> {
        if !self.throttle.is_on() {
            return None;
        }
        self.next += 1;
        let line = self.lines.entry(Network::counted_as(address)).or_default();
        line.push((self.next, waker));
        Some(self.next)
    }

    /// How long after its beginning this login may be judged, whatever will come of it: as of now, for it becomes shorter and longer
    /// by what becomes of others.
    #[must_use]
    pub fn delay(&self, address: IpAddr, number: u64, now: Instant) -> Duration {
        let line = self.lines.get(&Network::counted_as(address));
        let ahead = line.map_or(0, |line| line.partition_point(|(other, _)| *other < number));
        self.throttle.delay_behind(address, ahead, now)
    }

    /// The login has failed.
    pub fn fail(&mut self, address: IpAddr, number: u64, now: Instant) {
        self.throttle.failed(address, now);
        self.leave(address, number, |_| {});
    }

    /// The login has succeeded, or came to nothing without the client's fault. `wake` is called for those that are to wait less now.
    pub fn give_back(&mut self, address: IpAddr, number: u64, wake: impl FnMut(&W)) {
        self.leave(address, number, wake);
    }

    fn leave(&mut self, address: IpAddr, number: u64, wake: impl FnMut(&W)) {
        let address = Network::counted_as(address);
        let Some(line) = self.lines.get_mut(&address) else {
            return;
        };
        let place = line.partition_point(|(other, _)| *other < number);
        if line.get(place).is_some_and(|(other, _)| *other == number) {
            line.remove(place);
        }
        // Further back, one more or less before them makes no difference.
        let first = line.iter().take(MOST as usize).skip(place);
        first.map(|(_, waker)| waker).for_each(wake);
        if line.is_empty() {
            self.lines.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, sync::LazyLock};

    use proptest::prelude::*;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(5);
    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn attempts<W: Default>(failed: usize, now: Instant) -> Attempts<W> {
        let mut attempts = Attempts::new(Throttle::new(LONGEST, 1, now));
        for _ in 0..failed {
            let number = attempts.begin(FROM, W::default()).unwrap();
            attempts.fail(FROM, number, now);
        }
        attempts
    }

    /// The delay of who comes after so many failures, as the throttle has it.
    fn after(failures: usize, now: Instant) -> Duration {
        let mut throttle = Throttle::new(LONGEST, 1, now);
        (0..failures).for_each(|_| throttle.failed(FROM, now));
        throttle.delay(FROM, now)
    }

    /// [`after`] 0 to 100 failures, which is asked thousands of times.
    static DELAYS: LazyLock<Vec<Duration>> = LazyLock::new(|| {
        let now = Instant::now();
        (0..=100).map(|failures| after(failures, now)).collect()
    });

    #[test]
    fn the_nth_of_many_guesses_at_once_waits_as_the_nth_in_turn() {
        let now = Instant::now();
        let mut attempts = attempts(1, now);
        let numbers: Vec<_> = (0..100).map(|_| attempts.begin(FROM, ()).unwrap()).collect();
        for (ahead, number) in numbers.iter().enumerate() {
            assert_eq!(
                attempts.delay(FROM, *number, now),
                after(1 + ahead, now),
                "{ahead}"
            );
        }
        // In whatever order they fail, nobody's delay becomes shorter by that.
        for number in numbers.iter().step_by(3) {
            attempts.fail(FROM, *number, now);
        }
        for (ahead, number) in numbers.iter().enumerate() {
            assert!(
                attempts.delay(FROM, *number, now) >= after(1 + ahead, now),
                "{ahead}"
            );
        }
    }

    #[test]
    fn guesses_that_began_before_any_had_failed_wait_as_soon_as_one_has() {
        let now = Instant::now();
        let mut attempts = attempts(0, now);
        let numbers: Vec<_> = (0..20).map(|_| attempts.begin(FROM, ()).unwrap()).collect();
        assert!(attempts.delay(FROM, numbers[19], now).is_zero());
        attempts.fail(FROM, numbers[0], now);
        assert_eq!(attempts.delay(FROM, numbers[19], now), LONGEST);
        let elsewhere = IpAddr::from([10, 0, 0, 2]);
        let other = attempts.begin(elsewhere, ()).unwrap();
        assert!(attempts.delay(elsewhere, other, now).is_zero());
    }

    /// What is woken once it is to wait less.
    type Woken = Rc<Cell<bool>>;

    #[test]
    fn two_hundred_right_passwords_at_once_are_not_slow_though_one_was_wrong_before() {
        for failed in [0, 1, 3] {
            let now = Instant::now();
            let mut attempts = attempts(failed, now);
            let begin = || {
                let woken = Woken::new(Cell::new(true));
                (attempts.begin(FROM, Rc::clone(&woken)).unwrap(), woken)
            };
            let mut waiting: Vec<_> = std::iter::repeat_with(begin).take(200).collect();
            // Who has been woken looks again, and no time goes by.
            while let Some(place) = waiting.iter().position(|(_, woken)| woken.replace(false)) {
                if attempts.delay(FROM, waiting[place].0, now).is_zero() {
                    let (number, _) = waiting.remove(place);
                    attempts.give_back(FROM, number, |woken: &Woken| woken.set(true));
                }
            }
            assert!(waiting.is_empty(), "{} wait after {failed}", waiting.len());
            assert!(attempts.lines.is_empty());
        }
    }

    #[test]
    fn where_nothing_is_delayed_nothing_is_kept() {
        let now = Instant::now();
        let mut attempts = Attempts::new(Throttle::new(Duration::ZERO, 1, now));
        assert_eq!(attempts.begin(FROM, ()), None);
        assert!(attempts.lines.is_empty());
    }

    /// What becomes of a login that is under way.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Begin,
        Fail(prop::sample::Index),
        GiveBack(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        let index = any::<prop::sample::Index>;
        prop_oneof![
            3 => Just(Step::Begin),
            1 => index().prop_map(Step::Fail),
            1 => index().prop_map(Step::GiveBack),
        ]
    }

    proptest! {
        #[test]
        fn each_waits_for_all_failures_and_for_those_before_it(
            steps in prop::collection::vec(step(), 0..100),
        ) {
            let now = Instant::now();
            let delays = &*DELAYS;
            let mut attempts: Attempts<Woken> = attempts(0, now);
            let (mut under_way, mut failed) = (Vec::<(u64, Woken, Duration)>::new(), 0);
            for step in steps {
                match step {
                    Step::Begin => {
                        let woken = Woken::default();
                        let number = attempts.begin(FROM, Rc::clone(&woken)).unwrap();
                        under_way.push((number, woken, Duration::MAX));
                    }
                    Step::Fail(at) if !under_way.is_empty() => {
                        let (number, ..) = under_way.remove(at.index(under_way.len()));
                        attempts.fail(FROM, number, now);
                        failed += 1;
                    }
                    Step::GiveBack(at) if !under_way.is_empty() => {
                        let (number, ..) = under_way.remove(at.index(under_way.len()));
                        attempts.give_back(FROM, number, |woken| woken.set(true));
                    }
                    Step::Fail(_) | Step::GiveBack(_) => {}
                }
                for (ahead, (number, woken, before)) in under_way.iter_mut().enumerate() {
                    let expected = if failed == 0 { 0 } else { failed + ahead };
                    let delay = attempts.delay(FROM, *number, now);
                    prop_assert_eq!(delay, delays[expected]);
                    prop_assert!(delay <= LONGEST);
                    let is_told = woken.replace(false);
                    prop_assert!(is_told || delay >= *before || *before == Duration::MAX);
                    *before = delay;
                }
            }
        }
    }
}
