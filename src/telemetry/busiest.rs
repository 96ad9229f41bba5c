//! Counts by names that clients choose, such as namespaces: those of the busiest apart, all others together.
//!
//! There are [`PLACES`] names at a time. One that has no place gets that of the least busy one by chance, the rarer the busier that is,
//! and inherits its rank: so whatever is busy has a place soon and keeps it, and a flood of strange names costs next to nothing. The
//! counts are exact: one begins with its place, and goes into that of the others when the place is lost.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{
        AtomicU8, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

use super::counters::{Counter, of_core};

/// Names that are counted apart.
pub const PLACES: usize = 50;
/// Longer names are none; MongoDB's namespaces have 255 bytes at most.
const LONGEST: usize = 255;

/// Counts of names. Counting one that has a place takes no lock and no allocation, and writes only what is the core's own.
#[derive(Debug)]
pub struct Busiest {
    /// By place; 0 where there is none yet.
    hashes: [AtomicU64; PLACES],
    /// Where a hash may be found, by its first bits.
    hints: Box<[AtomicU8]>,
    cores: Box<[OfCore]>,
    /// The rank that each place was taken with.
    inherited: [AtomicU64; PLACES],
    /// The least rank, as it was seen last.
    least: AtomicU64,
    names: Mutex<Vec<String>>,
}

/// What one core has counted.
#[derive(Debug)]
#[repr(align(128))] // Two cores never write to one cache line.
struct OfCore {
    /// By place, whichever names had it.
    counts: [Counter; PLACES],
    /// Of that, what was counted for names that have lost the place. Whoever takes a place from a name writes it.
    lost: [AtomicU64; PLACES],
    others: AtomicU64,
}

impl OfCore {
    const fn new() -> Self {
        Self {
            counts: [const { Counter::new() }; PLACES],
            lost: [const { AtomicU64::new(0) }; PLACES],
            others: AtomicU64::new(0),
        }
    }

    /// What was counted for the name that has the place.
    fn of_place(&self, place: usize) -> u64 {
        let lost = self.lost[place].load(Acquire);
        self.counts[place].get().saturating_sub(lost)
    }

    /// Has what was counted in this place go to the others.
    fn lose(&self, place: usize) {
        let counted = self.counts[place].get();
        let before = self.lost[place].swap(counted, AcqRel);
        self.others.fetch_add(counted.wrapping_sub(before), Relaxed);
    }
}

/// What was counted, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that have a place, the busiest first.
    pub named: Vec<(String, u64)>,
    /// All others.
    pub others: u64,
}

/// A number for a name of two parts; never 0.
#[inline]
#[must_use]
pub fn hash_of(parts: [&[u8]; 2]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = FACTOR;
    let mut mix = |word: u64| hash = (hash.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    for part in parts {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        mix(u64::from_le_bytes(last));
        mix(part.len() as u64);
    }
    hash | 1
}

impl Busiest {
    /// Nothing was counted yet, on so many cores.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self {
            hashes: [const { AtomicU64::new(0) }; PLACES],
            hints: (0..=u8::MAX).map(|_| AtomicU8::new(0)).collect(),
            cores: (0..cores.max(1)).map(|_| OfCore::new()).collect(),
            inherited: [const { AtomicU64::new(0) }; PLACES],
            least: AtomicU64::new(0),
            names: Mutex::new(vec![String::new(); PLACES]),
        }
    }

    /// Counts one of this hash; `name` writes its name, which is asked for only if it gets a place.
    #[inline]
    pub fn one(&self, core: usize, hash: u64, name: impl FnOnce(&mut String)) {
        let hinted = usize::from(self.hint(hash).load(Relaxed));
        if self.hashes[hinted].load(Relaxed) == hash {
            of_core(&self.cores, core).counts[hinted].one();
        } else {
            self.look_for(core, hash, name);
        }
    }

    fn hint(&self, hash: u64) -> &AtomicU8 {
        &self.hints[usize::from((hash >> 56) as u8)]
    }

    #[cold]
    fn look_for(&self, core: usize, hash: u64, name: impl FnOnce(&mut String)) {
        let place = self.find(hash).or_else(|| self.admit(hash, name));
        let own = of_core(&self.cores, core);
        match place {
            Some(place) => {
                self.hint(hash).store(place as u8, Relaxed);
                own.counts[place].one();
            }
            None => drop(own.others.fetch_add(1, Relaxed)),
        }
    }

    fn find(&self, hash: u64) -> Option<usize> {
        self.hashes.iter().position(|found| found.load(Relaxed) == hash)
    }

    /// Gives a name a place, perhaps.
    fn admit(&self, hash: u64, name: impl FnOnce(&mut String)) -> Option<usize> {
        let known = self.least.load(Relaxed);
        if fastrand::u64(..=known) > 0 {
            return None;
        }
        let mut names = self.names();
        if let Some(place) = self.find(hash) {
            return Some(place);
        }
        let (rank, place) = (0..PLACES).map(|place| (self.rank(place), place)).min()?;
        self.least.store(rank, Relaxed);
        // The chance is that of the rank that was found, of which a part was tried above.
        if fastrand::u64(..=rank) > known {
            return None;
        }
        let mut text = String::new();
        name(&mut text);
        if text.len() > LONGEST {
            return None;
        }
        names[place] = text;
        self.hashes[place].store(hash, Relaxed);
        self.inherited[place].store(rank, Relaxed);
        self.cores.iter().for_each(|core| core.lose(place));
        Some(place)
    }

    fn total(&self, place: usize) -> u64 {
        self.cores.iter().map(|core| core.of_place(place)).sum()
    }

    fn rank(&self, place: usize) -> u64 {
        self.total(place) + self.inherited[place].load(Relaxed)
    }

    fn names(&self) -> MutexGuard<'_, Vec<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted so far.
    #[must_use]
    pub fn list(&self) -> Counts {
        let names = self.names();
        let each = names
            .iter()
            .enumerate()
            .map(|(place, name)| (name.clone(), self.total(place)));
        let mut named: Vec<_> = each.filter(|(_, count)| *count > 0).collect();
        // Names of different parts may read the same: `a.b` and `c`, `a` and `b.c`.
        named.sort();
        named.dedup_by(|(name, count), (kept, sum)| {
            let is_same = name == kept;
            *sum += if is_same { *count } else { 0 };
            is_same
        });
        named.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
        Counts {
            named,
            others: self.cores.iter().map(|core| core.others.load(Relaxed)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn count(busiest: &Busiest, core: usize, name: &str) {
        let hash = hash_of([name.as_bytes(), b""]);
        busiest.one(core, hash, |text| text.push_str(name));
    }

    #[test]
    fn counts_of_all_cores_are_exact_as_long_as_there_are_places() {
        let busiest = Busiest::new(2);
        for (core, name) in [(0, "a"), (1, "a"), (1, "b"), (0, "a"), (1, "c")] {
            count(&busiest, core, name);
        }
        let row = |name: &str, count| (name.to_owned(), count);
        assert_eq!(busiest.list().named, [row("a", 3), row("b", 1), row("c", 1)]);
        assert_eq!(busiest.list().others, 0);
    }

    #[test]
    fn no_count_is_lost_or_doubled_while_cores_take_places_from_each_others_names() {
        const EACH: u64 = 50_000;
        let busiest = Busiest::new(2);
        let begin = Barrier::new(2);
        std::thread::scope(|scope| {
            for core in 0..2 {
                let (busiest, begin) = (&busiest, &begin);
                scope.spawn(move || {
                    begin.wait();
                    for round in 0..EACH {
                        count(
                            busiest,
                            core,
                            &format!("name{}", (round * (core as u64 + 7)) % 120),
                        );
                    }
                });
            }
        });
        let counts = busiest.list();
        let named: u64 = counts.named.iter().map(|(_, count)| count).sum();
        assert!(counts.named.len() > PLACES / 2 && counts.others > 0);
        assert_eq!(named + counts.others, 2 * EACH);
    }

    #[test]
    fn what_is_busy_keeps_its_place_in_a_flood_and_no_command_is_lost_or_counted_twice() {
        let busiest = Busiest::new(1);
        let mut all = 0;
        for round in 0..2_000 {
            count(&busiest, 0, &format!("flood{round}"));
            count(&busiest, 0, &format!("flood{}", round + 10_000));
            for name in ["busy", "quite busy", "also busy"] {
                count(&busiest, 0, name);
            }
            all += 5;
        }
        let counts = busiest.list();
        assert!(counts.named.len() <= PLACES);
        for name in ["busy", "quite busy", "also busy"] {
            let found = counts.named.iter().take(3).find(|(found, _)| found == name);
            // It may have come late to a place, but not very.
            assert!(
                found.is_some_and(|(_, count)| *count > 1_900),
                "{name} in {counts:?}"
            );
        }
        let named: u64 = counts.named.iter().map(|(_, count)| count).sum();
        assert_eq!(named + counts.others, all);
    }

    #[test]
    fn a_name_that_grows_busy_late_gets_a_place() {
        let busiest = Busiest::new(1);
        for name in 0..PLACES {
            for _ in 0..100 {
                count(&busiest, 0, &format!("early{name}"));
            }
        }
        for _ in 0..10_000 {
            count(&busiest, 0, "late");
        }
        assert_eq!(busiest.list().named[0].0, "late");
    }

    #[test]
    fn names_that_read_the_same_are_one() {
        let busiest = Busiest::new(1);
        for parts in [["a.b", "c"], ["a", "b.c"], ["a", "b.c"], ["a", "c"]] {
            let hash = hash_of([parts[0].as_bytes(), parts[1].as_bytes()]);
            busiest.one(0, hash, |text| *text = parts.join("."));
        }
        assert_eq!(
            busiest.list().named,
            [("a.b.c".to_owned(), 3), ("a.c".to_owned(), 1)]
        );
    }

    #[test]
    fn names_are_told_apart_by_both_parts_and_what_is_too_long_is_none() {
        assert_ne!(hash_of([b"ab", b"c"]), hash_of([b"a", b"bc"]));
        assert_ne!(hash_of([b"a", b""]), hash_of([b"a", b"\0"]));
        let busiest = Busiest::new(1);
        count(&busiest, 0, &"x".repeat(LONGEST + 1));
        assert_eq!((busiest.list().named.len(), busiest.list().others), (0, 1));
    }
}
