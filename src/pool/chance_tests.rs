//! The pool's state machine by chance: whatever happens in whatever order, its invariants hold.

use proptest::prelude::*;

use super::*;

/// What the shell knows: lent connections, connections being made, and who waits.
struct Model {
    state: TestState,
    lent: Vec<Pooled<u32>>,
    making: Vec<Making>,
    now: Instant,
}

impl Model {
    fn settle(&mut self, mut placed: Placed<u32, u32>) {
        while let Placed::Waiter(waiter, pooled) = placed {
            // Every third waiter is gone.
            if waiter % 3 != 0 {
                self.lent.push(pooled);
                return self.fill();
            }
            placed = self.state.place(pooled, self.now);
        }
        self.fill();
    }

    /// Hands idle connections on after a share got room; every fifth turns out to be stale.
    fn fill(&mut self) {
        let mut stale = Vec::new();
        while let Some((_, pooled)) = self.state.serve_idle(|n| *n % 5 == 0, self.now, &mut stale) {
            self.lent.push(pooled);
        }
    }

    fn step(&mut self, step: u8, core: usize, share: Share, number: u32, identity: &Identity) {
        // Turns pass.
        self.now += Duration::from_millis(7);
        match step {
            0 | 1 => self.lent.extend(self.state.check_out(identity, core, share)),
            2 => {
                let waits = self
                    .state
                    .check_out_or_wait(identity, core, share, number, times(self.now));
                self.lent.extend(waits);
            }
            3 => self
                .making
                .extend(self.state.begin_connect(true).map(|(making, _)| making)),
            4 => {
                if let Some(making) = self.making.pop() {
                    let placed = self.state.connected(pooled(number, core, making), self.now);
                    self.settle(placed);
                }
            }
            5 => {
                if let Some(making) = self.making.pop() {
                    self.state.connect_failed(&making.identity, making.share);
                    self.fill();
                }
            }
            6 => {
                if let Some(pooled) = self.lent.pop() {
                    let placed = self.state.place(pooled, self.now);
                    self.settle(placed);
                }
            }
            7 => {
                if self.state.leave(u64::from(number / 2)) {
                    self.fill();
                }
            }
            // Half of those who wait have waited for too long.
            8 if core == 1 => {
                let waits = self
                    .state
                    .ordinary
                    .waiting
                    .iter()
                    .chain(self.state.awaiting.waiting.iter());
                let untils: Vec<_> = waits.map(|queued| queued.until).collect();
                let late = untils.get(untils.len() / 2).copied();
                if late.is_some_and(|late| !self.state.take_late(late).is_empty()) {
                    self.fill();
                }
            }
            _ if core == 0 => {
                drop(self.state.clear());
                self.state.ready();
            }
            _ => {
                if let Some(pooled) = self.lent.pop() {
                    self.state.discard(&pooled.identity, pooled.share);
                    self.fill();
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn counts_stay_within_bounds_whatever_happens(
        steps in prop::collection::vec((0u8..9, 0usize..3, any::<bool>(), 0usize..3), 1..400),
        max_awaiting in 0usize..4,
        max_per_user in prop::option::of(1usize..4),
        users in 1usize..=3,
    ) {
        let options = Options { max_awaiting, max_per_user, ..options(4, 1) };
        let identities = [Identity::SERVICE, Identity::testing(1), Identity::testing(2)];
        let mut model = Model { state: ready(options), lent: vec![], making: vec![], now: Instant::now() };
        for (number, (step, core, awaits, who)) in steps.into_iter().enumerate() {
            let share = if awaits { Awaiting } else { Ordinary };
            model.step(step, core, share, number as u32, &identities[who % users]);
            let counts = model.state.counts();
            let lent = |share| model.lent.iter().filter(|lent| lent.share == share).count();
            prop_assert_eq!((counts.in_use, counts.awaiting), (lent(Ordinary), lent(Awaiting)));
            prop_assert_eq!(counts.connecting, model.making.len());
            prop_assert!(counts.in_use <= 4 && counts.awaiting <= max_awaiting);
            prop_assert!(counts.in_use + counts.awaiting + counts.idle + counts.connecting <= 4 + max_awaiting);
            prop_assert!(counts.connecting <= 2);
            for (identity, lane) in &model.state.lanes {
                let is_bounded = identity.user().is_some();
                prop_assert!(!is_bounded || max_per_user.is_none_or(|max| lane.total() <= max), "one user has too many");
                prop_assert!(!lane.is_empty(), "nothing is kept of those who left");
            }
            if users == 1 {
                let served = |waiting: usize, lent: usize, max: usize| waiting == 0 || lent == max;
                prop_assert!(counts.idle == 0 || served(counts.waiting, counts.in_use, 4)
                    && served(counts.waiting_to_await, counts.awaiting, max_awaiting), "nobody waits beside an idle connection");
            }
            // Whoever waits with room in the share is, or can be, connected for; but who has all that one user may have.
            let (ordinary, awaiting) = (counts.waiting > 0 && counts.in_use < 4,
                counts.waiting_to_await > 0 && counts.awaiting < max_awaiting);
            if counts.connecting == 0 && model.lent.is_empty() && (ordinary || awaiting) {
                let making = model.state.begin_connect(false);
                prop_assert!(making.is_some(), "somebody waits for nothing");
                model.making.extend(making.map(|(making, _)| making));
            }
        }
        // All who wait are served in the end.
        for _ in 0..10_000 {
            while let Some((making, _)) = model.state.begin_connect(false) {
                model.making.push(making);
            }
            model.now += Duration::from_millis(7);
            if let Some(making) = model.making.pop() {
                let placed = model.state.connected(pooled(1, 0, making), model.now);
                model.settle(placed);
            } else if let Some(pooled) = model.lent.pop() {
                let placed = model.state.place(pooled, model.now);
                model.settle(placed);
            }
        }
        prop_assert!(!model.state.is_waited_for(), "{:?}", model.state.counts());
    }

    #[test]
    fn a_connection_serves_its_own_identity_alone(
        steps in prop::collection::vec((0u8..9, 0usize..3, any::<bool>(), 0usize..3), 1..300),
    ) {
        let identities = [Identity::nobody(), Identity::testing(1), Identity::testing(2)];
        let mut model = Model { state: ready(options(3, 0)), lent: vec![], making: vec![], now: Instant::now() };
        // Whose waiter has which number, and whose connection.
        let mut made_for = std::collections::BTreeMap::new();
        for (number, (step, core, awaits, who)) in steps.into_iter().enumerate() {
            let share = if awaits { Awaiting } else { Ordinary };
            let (number, identity) = (3 * number as u32 + 1, &identities[who]);
            if step == 4 && let Some(making) = model.making.last() {
                made_for.insert(number, making.identity.clone());
            }
            let before = model.lent.len();
            model.step(step, core, share, number, identity);
            if step <= 2 && model.lent.len() > before {
                prop_assert_eq!(&model.lent.last().unwrap().identity, identity);
            }
            for lent in &model.lent {
                prop_assert_eq!(Some(&lent.identity), made_for.get(&lent.connection));
            }
        }
    }
}
