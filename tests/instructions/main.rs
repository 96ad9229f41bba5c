//! How many instructions a command takes on its way through the proxy and back, held against a bound.
//!
//! The real program runs under `valgrind --tool=callgrind` between a played node and one client, on loopback, and the difference
//! between a run of more commands and one of fewer is what those commands took: in user space, on all threads. Times vary with the
//! machine, this hardly does (within 1%). `bound.toml` holds what was counted, and for which toolchain.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod play;
mod wire;

use std::{env, fmt::Write as _, fs, path::Path, process::Command, thread};

use play::{Commands, instructions};

/// Commands of a kind that are counted.
const COMMANDS: usize = 150;
/// A count may be above the recorded one by this part: more than two counts differ, and half of what is to be noticed.
const TOLERANCE: f64 = 0.05;
const BOUND: &str = "tests/instructions/bound.toml";
/// Set, it has the counts written down instead of judged.
const RECORD: &str = "TIDEGATE_RECORD_INSTRUCTIONS";

/// Instructions per command, by kind.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Counts {
    /// `rustc --version`.
    toolchain: String,
    find: u64,
    update: u64,
}

#[test]
fn a_command_takes_no_more_instructions_than_were_recorded() {
    let counted = count();
    println!("{counted:?}");
    if env::var_os(RECORD).is_some() {
        record(&counted);
        return;
    }
    let recorded: Counts = toml::from_str(&fs::read_to_string(file()).unwrap()).unwrap();
    let told = complaints(&recorded, &counted);
    assert!(told.is_empty(), "{told}");
}

#[test]
fn a_tenth_more_breaks_the_bound_and_half_a_percent_does_not() {
    let recorded = |find, update| Counts {
        toolchain: "x".to_owned(),
        find,
        update,
    };
    let bound = recorded(1000, 2000);
    assert_eq!(complaints(&bound, &recorded(1005, 2010)), "");
    assert_eq!(complaints(&bound, &recorded(500, 500)), "");
    assert!(complaints(&bound, &recorded(1100, 2000)).contains("a find takes 1100 instructions, 10.0% more"));
    assert!(complaints(&bound, &recorded(1000, 2200)).contains("an update"));
}

fn count() -> Counts {
    let run = |finds, updates| thread::spawn(move || instructions(Commands { finds, updates }));
    let runs = [run(COMMANDS, 0), run(2 * COMMANDS, 0), run(COMMANDS, COMMANDS)];
    let [base, finds, updates] = runs.map(|run| run.join().unwrap());
    let each = |total: u64| total.saturating_sub(base) / COMMANDS as u64;
    Counts {
        toolchain: toolchain(),
        find: each(finds),
        update: each(updates),
    }
}

/// What is wrong with what was counted; empty if nothing is.
fn complaints(recorded: &Counts, counted: &Counts) -> String {
    let mut told = String::new();
    let pairs = [
        ("a find", recorded.find, counted.find),
        ("an update", recorded.update, counted.update),
    ];
    for (what, bound, count) in pairs {
        let more = count as f64 / bound as f64 - 1.0;
        if more > TOLERANCE {
            let percent = more * 100.0;
            let _ = writeln!(
                told,
                "{what} takes {count} instructions, {percent:.1}% more than the {bound} recorded in {BOUND}"
            );
        }
    }
    if !told.is_empty() && recorded.toolchain != counted.toolchain {
        let _ = writeln!(
            told,
            "the record is of {}, this is {}: that alone may be why",
            recorded.toolchain, counted.toolchain
        );
    }
    if !told.is_empty() {
        let _ = writeln!(
            told,
            "if it is worth it, record it: {RECORD}=1 cargo test --test instructions"
        );
    }
    told
}

fn record(counts: &Counts) {
    let text = format!(
        "# Instructions of user space that one command takes, as tests/instructions counts them: with the dev profile, on x86-64.\n\
         # That does not optimize this crate: a release build, which would take minutes more, needs about a sixth of them.\n\
         # A count that is more than 5% above these fails the test. Another toolchain, or a change that is worth its cost, needs\n\
         # them taken anew, and so does one that saves much, or the bound would mean little:\n\
         #   {RECORD}=1 cargo test --test instructions\n\n{}",
        toml::to_string(counts).unwrap()
    );
    fs::write(file(), text).unwrap();
}

fn file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(BOUND)
}

fn toolchain() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
