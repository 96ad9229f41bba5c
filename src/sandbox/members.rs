//! The set as its members see it: the first configuration, and the state of each member.

use std::{fmt, time::Duration};

use bson::{Bson, Document, doc};

use super::{Options, call::call_within};

/// `replSetInitiate` finds another configuration in the data folder.
pub(super) const ALREADY_INITIALIZED: i32 = 23;

/// What a node says of itself in `isMaster`, as far as the sandbox must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// Accepts writes.
    Primary,
    /// Replicates, and may serve reads.
    Secondary,
    /// Votes and holds no data.
    Arbiter,
    /// Starting, syncing, rolling back, or without a configuration.
    Other,
    /// Does not answer.
    Down,
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::Arbiter => "arbiter",
            Self::Other => "starting",
            Self::Down => "down",
        })
    }
}

impl MemberState {
    /// Asks the node at `address`; one that does not answer soon is down.
    pub(super) async fn of(address: &str) -> Self {
        // By the old name: `hello` is younger than some servers that a set may be made of.
        let question = doc! { "isMaster": 1, "$db": "admin" };
        let answer = call_within(address, question, Duration::from_secs(1)).await;
        answer.map_or(Self::Down, |answer| Self::from_answer(&answer))
    }

    fn from_answer(answer: &Document) -> Self {
        let says = |key| answer.get_bool(key).unwrap_or(false);
        if says("ismaster") {
            Self::Primary
        } else if says("secondary") {
            Self::Secondary
        } else if says("arbiterOnly") {
            Self::Arbiter
        } else {
            Self::Other
        }
    }
}

/// One primary, and every other member at its work.
pub(super) fn is_settled(states: &[MemberState]) -> bool {
    let count = |state| states.iter().filter(|s| **s == state).count();
    count(MemberState::Primary) == 1
        && count(MemberState::Secondary) + count(MemberState::Arbiter) + 1 == states.len()
}

/// The configuration for `replSetInitiate` (MongoDB manual, "Replica Set Configuration").
pub(super) fn configuration<'a>(options: &Options, addresses: impl Iterator<Item = &'a str>) -> Document {
    let members: Vec<Bson> = addresses
        .enumerate()
        .map(|(node, host)| member(options, node, host).into())
        .collect();
    doc! {
        "_id": &options.set_name,
        "members": members,
        "settings": {
            "electionTimeoutMillis": options.election_timeout.as_millis() as i32,
            "heartbeatIntervalMillis": options.heartbeat_interval.as_millis() as i32,
        },
    }
}

fn member(options: &Options, node: usize, host: &str) -> Document {
    if node >= options.nodes {
        return doc! { "_id": node as i32, "host": host, "arbiterOnly": true };
    }
    let mut member = doc! {
        "_id": node as i32,
        "host": host,
        "priority": options.priority(node),
        "votes": i32::from(options.votes(node)),
    };
    if let Some(settings) = options.members.get(node) {
        member.insert("hidden", settings.hidden);
        member.insert(
            "tags",
            settings
                .tags
                .iter()
                .map(|(k, v)| (k.clone(), Bson::from(v)))
                .collect::<Document>(),
        );
    }
    member
}

#[cfg(test)]
mod tests {
    use MemberState::{Arbiter, Other, Primary, Secondary};

    use super::*;
    use crate::sandbox::MemberOptions;

    #[test]
    fn a_set_is_settled_with_one_primary_and_all_others_at_work() {
        let cases: [(&[MemberState], bool); 6] = [
            (&[Primary], true),
            (&[Secondary, Primary, Arbiter], true),
            (&[Secondary, Secondary], false),
            (&[Primary, Primary, Secondary], false),
            (&[Primary, Other], false),
            (&[Primary, MemberState::Down], false),
        ];
        for (states, settled) in cases {
            assert_eq!(is_settled(states), settled, "{states:?}");
        }
    }

    #[test]
    fn the_configuration_carries_each_members_settings() {
        let tagged = MemberOptions {
            tags: [("dc".into(), "east".into())].into(),
            ..Default::default()
        };
        let hidden = MemberOptions {
            hidden: true,
            ..Default::default()
        };
        let options = Options {
            nodes: 3,
            arbiters: 1,
            members: vec![tagged, hidden],
            ..Options::default()
        };
        let got = configuration(&options, ["a:1", "b:2", "c:3", "d:4"].into_iter());
        let expected = doc! {
            "_id": "sandbox",
            "members": [
                { "_id": 0, "host": "a:1", "priority": 1.0, "votes": 1, "hidden": false, "tags": { "dc": "east" } },
                { "_id": 1, "host": "b:2", "priority": 0.0, "votes": 1, "hidden": true, "tags": {} },
                { "_id": 2, "host": "c:3", "priority": 1.0, "votes": 1 },
                { "_id": 3, "host": "d:4", "arbiterOnly": true },
            ],
            "settings": { "electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500 },
        };
        assert_eq!(got, expected);
    }
}
