//! Commands are held through elections, crashes and broken networks, and each write is applied once, for every client.
//!
//! A handful of faults; `cargo bench --bench chaos` inflicts many more, and measures the pauses. `CHAOS_SEED` makes other runs.

use crate::support::chaos::{
    Class::{BlackHole, CutAfter, CutBefore, CutReply, Kill, StepDown, Stop},
    Plan, run, verdict,
};

#[test]
fn no_client_sees_an_error_and_no_write_is_lost_or_doubled_while_nodes_and_network_fail() {
    let seed = std::env::var("CHAOS_SEED").map_or(20_261_121, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let plan = Plan {
        seed,
        faults: vec![CutAfter, StepDown, Stop, CutBefore, Kill, CutReply, BlackHole],
        exactly_once: true,
        small: true,
        with_python2: false,
        secure: false,
    };
    let outcome = run(&plan);
    let complaints = verdict::complaints(&plan, &outcome, None);
    assert!(
        complaints.is_empty(),
        "{}\n--- the proxy\n{}",
        complaints.join("\n"),
        outcome.proxy_log
    );
    let met: usize = verdict::classes(&outcome)
        .into_iter()
        .map(|class| outcome.met(class))
        .sum();
    assert!(
        met >= 20,
        "the faults met only {met} commands: the run proves nothing"
    );
}
