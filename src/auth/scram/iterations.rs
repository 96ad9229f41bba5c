//! How many iterations users have for each mechanism, so that a stand-in for one who does not exist looks like them.
//!
//! What is told of an unknown user must not change by what becomes of others: who knows two users with different counts could have either
//! of them read, and see whether another name's count follows. So it is what most users have, which changes when most of them do.

use std::collections::BTreeMap;

use super::{Hash, Verifier};

/// The iterations that are usual; by default those of a `mongod` that was told nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iterations {
    sha_1: u32,
    sha_256: u32,
}

impl Default for Iterations {
    fn default() -> Self {
        Self {
            sha_1: Hash::Sha1.default_iterations(),
            sha_256: Hash::Sha256.default_iterations(),
        }
    }
}

impl Iterations {
    /// What most of these credentials have. Of two counts that are as frequent the higher one, which servers came to ask for later; a
    /// mechanism that none has keeps its count in `before`.
    #[must_use]
    pub fn usual(counts: impl IntoIterator<Item = (Hash, u32)>, before: Self) -> Self {
        let mut seen: BTreeMap<(Hash, u32), usize> = BTreeMap::new();
        for one in counts {
            *seen.entry(one).or_default() += 1;
        }
        let most = |hash| {
            let own = seen.iter().filter(|((of, _), _)| *of == hash);
            own.max_by_key(|((_, count), seen)| (**seen, *count))
                .map(|((_, count), _)| *count)
        };
        Self {
            sha_1: most(Hash::Sha1).unwrap_or(before.sha_1),
            sha_256: most(Hash::Sha256).unwrap_or(before.sha_256),
        }
    }

    /// The same of verifiers.
    #[must_use]
    pub fn of<'a>(verifiers: impl IntoIterator<Item = &'a Verifier>) -> Self {
        let counts = verifiers.into_iter().map(|one| (one.hash(), one.iterations()));
        Self::usual(counts, Self::default())
    }

    /// Those of one mechanism.
    #[must_use]
    pub fn get(self, hash: Hash) -> u32 {
        match hash {
            Hash::Sha1 => self.sha_1,
            Hash::Sha256 => self.sha_256,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_users_have_counts_for_each_mechanism_alone() {
        use Hash::{Sha1, Sha256};
        let configured = Iterations {
            sha_1: 20_000,
            sha_256: 30_000,
        };
        for (counts, before, expected) in [
            (&[][..], Iterations::default(), [10_000, 15_000]),
            (&[], configured, [20_000, 30_000]),
            (&[(Sha256, 50_000)], Iterations::default(), [10_000, 50_000]),
            (
                &[(Sha1, 5000), (Sha1, 5000), (Sha1, 90_000)],
                configured,
                [5000, 30_000],
            ),
            (
                &[(Sha1, 7000), (Sha1, 6000), (Sha256, 6000)],
                configured,
                [7000, 6000],
            ),
        ] {
            let usual = Iterations::usual(counts.iter().copied(), before);
            assert_eq!([usual.get(Sha1), usual.get(Sha256)], expected, "{counts:?}");
        }
    }
}
