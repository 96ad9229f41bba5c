//! The same random legacy messages, sent to an old server and to another, which must answer alike.
//!
//! A sequence that is answered differently is made as short and simple as possible before it is reported.

mod generate;
mod normalise;
mod play;
mod servers;
mod steps;

use std::fmt::Write as _;

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

pub(crate) use generate::DIFFERENCES_OF_VERSIONS;
pub(crate) use normalise::NORMALISATIONS;
pub(crate) use servers::{Pair, Servers};

use self::{
    normalise::normalised,
    play::{Answer, play},
    steps::Step,
};

/// How often a sequence is made simpler, at most.
const SIMPLER: usize = 150;

/// Sequences that were answered differently.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) cases: u64,
    pub(crate) steps: u64,
    /// Each as text, with the number of its case.
    pub(crate) differences: Vec<String>,
}

/// Plays `cases` sequences, of which each is known by its number and the `seed`, until `most` were answered differently.
pub(crate) fn run(pair: &Pair, seed: u64, cases: impl Iterator<Item = u64>, most: usize) -> Report {
    let mut report = Report::default();
    for case in cases {
        let mut tree = generate::sequences()
            .new_tree(&mut runner(seed, case))
            .unwrap_or_else(|e| panic!("seed {seed}, case {case}: {e}"));
        let steps = tree.current();
        report.cases += 1;
        report.steps += steps.len() as u64;
        if let Some(difference) = pair.compare(&steps) {
            let simplest = simplest(pair, &mut tree, difference);
            report
                .differences
                .push(format!("seed {seed}, case {case}:\n{simplest}"));
            if report.differences.len() == most {
                break;
            }
        }
    }
    report
}

fn runner(seed: u64, case: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&case.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(Config::default(), rng)
}

/// The difference that a shorter sequence makes, too, if there is one.
fn simplest(pair: &Pair, tree: &mut impl ValueTree<Value = Vec<Step>>, mut difference: String) -> String {
    let mut left = SIMPLER;
    let mut more = tree.simplify();
    while more && left > 0 {
        left -= 1;
        more = match pair.compare(&tree.current()) {
            Some(still) => {
                difference = still;
                tree.simplify()
            }
            None => tree.complicate(),
        };
    }
    difference
}

impl Pair {
    /// The first difference between what the two answer, as text.
    fn compare(&self, steps: &[Step]) -> Option<String> {
        let [old, new] = [self.old, self.new].map(|address| {
            play(address, &self.db, steps).unwrap_or_else(|e| panic!("{address}: {e}\n{}", listed(steps)))
        });
        // Behind the last step's answer come the collections, which are answers like any others.
        let find = Step::KillCursors { which: Vec::new() };
        let answered = old.len().max(new.len());
        for number in 0..answered {
            let step = steps.get(number).unwrap_or(&find);
            let [old, new] = [&old, &new].map(|answers| {
                let answer = answers.get(number).cloned();
                answer.map(|answer| normalised(step, answer))
            });
            if old != new {
                let at = if number < steps.len() {
                    format!("step {number}")
                } else {
                    "the collections afterwards".to_owned()
                };
                let [mut old_text, mut new_text] = [&old, &new].map(shown);
                if old_text == new_text {
                    // They differ in types.
                    [old_text, new_text] = [&old, &new].map(|answer| format!("{answer:?}"));
                }
                return Some(format!(
                    "{}differ at {at}:\n  old: {old_text}\n  new: {new_text}\n",
                    listed(steps)
                ));
            }
        }
        None
    }
}

fn listed(steps: &[Step]) -> String {
    let mut text = String::new();
    for (number, step) in steps.iter().enumerate() {
        let _ = writeln!(text, "  {number}: {step}");
    }
    text
}

fn shown(answer: &Option<Answer>) -> String {
    match answer {
        None => "nothing, for it was closed before".to_owned(),
        Some(Answer::Replies(replies)) => {
            let one = |told: &play::Told| {
                let documents: Vec<String> = told.documents.iter().map(ToString::to_string).collect();
                let cursor = if told.goes_on { "open" } else { "0" };
                format!(
                    "flags {} cursor {cursor} from {} [{}]",
                    told.flags,
                    told.starting_from,
                    documents.join(", ")
                )
            };
            replies.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Some(other) => format!("{other:?}"),
    }
}
