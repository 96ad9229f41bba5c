//! The tests of the Server Discovery and Monitoring specification for errors that applications meet.
//!
//! The pool is the state machine that Tidegate's pools run on. What an error reply means is found out as for a client's command, and
//! which failures of an exchange count as for its connection.

use std::time::Duration;

use serde_json::Value;
use tidegate::{
    command::state_change,
    pool::{Options, state::State},
    topology::{Address, ApplicationError, ErrorCause, ServerDescription, Topology},
    upstream::{Failure, Reason},
    wire::RawDoc,
};

use super::{
    discovery::{check, description, seeded},
    extended_json::raw_document,
    report::run_cases,
};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The machine and the pool of its one server.
struct Watched {
    topology: Topology,
    pool: State<u32, u32>,
}

#[test]
fn errors_count_unless_they_are_old_news() {
    run_cases("discovery_and_monitoring/errors", &[], |_, case| judge(case));
}

fn judge(case: &Value) {
    let mut watched = Watched {
        topology: seeded(&case["uri"]),
        pool: State::new(Options::default()),
    };
    for phase in case["phases"].as_array().unwrap() {
        for response in phase["responses"].as_array().into_iter().flatten() {
            watched.check(description(response));
        }
        for error in phase["applicationErrors"].as_array().into_iter().flatten() {
            watched.meet(error);
        }
        let (outcome, name) = (&phase["outcome"], phase["description"].as_str().unwrap());
        check(&watched.topology, outcome, name);
        for server in outcome["servers"].as_object().unwrap().values() {
            let generation = server["pool"]["generation"].as_u64().unwrap();
            assert_eq!(watched.pool.counts().generation, generation, "{name}: generation");
        }
    }
}

impl Watched {
    /// A check ended: the pool follows, as the cluster has it.
    fn check(&mut self, description: ServerDescription) {
        let failed = description.error.is_some();
        if self.topology.apply(description).applied {
            if failed {
                self.pool.clear();
            } else {
                self.pool.ready();
            }
        }
    }

    fn meet(&mut self, error: &Value) {
        let address: Address = error["address"].as_str().unwrap().parse().unwrap();
        let generation = error["generation"].as_u64();
        let generation = generation.unwrap_or(self.pool.counts().generation);
        let established = match error["when"].as_str().unwrap() {
            "afterHandshakeCompletes" => true,
            "beforeHandshakeCompletes" => false,
            other => panic!("errors {other:?} are not understood here"),
        };
        let cause = match error["type"].as_str().unwrap() {
            "command" => state_change(&error["response"]),
            "network" => network_error(if established {
                Failure::maybe_sent(Reason::Closed)
            } else {
                Failure::not_sent(Reason::Connect(std::io::ErrorKind::ConnectionReset.into()))
            }),
            "timeout" => network_error(if established {
                Failure::maybe_sent(Reason::ReplyTimeout(TIMEOUT))
            } else {
                Failure::not_sent(Reason::ConnectTimeout(TIMEOUT))
            }),
            other => panic!("errors of type {other:?} are not understood here"),
        };
        if let Some(cause) = cause {
            self.demote(&address, &ApplicationError { cause, generation });
        }
    }

    fn demote(&mut self, address: &Address, error: &ApplicationError) {
        let generation = self.pool.counts().generation;
        if let Some(demotion) = self.topology.demotion(address, error, generation) {
            assert!(self.topology.apply(demotion.description).applied);
            if demotion.clears_pool {
                self.pool.clear();
            }
        }
    }
}

fn state_change(response: &Value) -> Option<ErrorCause> {
    let reply = raw_document(response);
    let masked = state_change::mask(RawDoc::prefix(reply.as_bytes()).unwrap()).unwrap();
    let state = masked.and_then(|masked| masked.node_state);
    state.map(|state| state.into_error(0).cause)
}

fn network_error(failure: Failure) -> Option<ErrorCause> {
    failure
        .is_network_error()
        .then(|| ErrorCause::Network(failure.to_string()))
}
