//! Why tests fail: those that fail through the proxy and not directly, and those that fail in both.

use super::suite::Outcome;

/// The reason of some tests' failures.
#[derive(Debug)]
pub(crate) struct Reason {
    /// The tests' ids without `test.`.
    tests: &'static [&'static str],
    /// Completes "it fails because".
    pub(crate) why: &'static str,
}

/// Every reason that is known of failures through the proxy.
pub(crate) const REASONS: &[Reason] = &[
    Reason {
        tests: &["test_collection.TestCollection.test_index_haystack"],
        why: "MongoDB has no geoHaystack indexes since 5.0",
    },
    Reason {
        tests: &["test_collection.TestCollection.test_map_reduce"],
        why: "MongoDB does not tell the counts of a mapReduce since 4.4",
    },
    Reason {
        tests: &["test_collection.TestCollection.test_reindex"],
        why: "MongoDB runs reIndex on standalone servers only since 5.0",
    },
    Reason {
        tests: &["test_collection.TestCollection.test_safe_remove"],
        why: "MongoDB allows deletes in capped collections since 5.0, and it expects an error",
    },
    Reason {
        tests: &[
            "test_gridfs.TestGridfsReplicaSet.test_gridfs_secondary",
            "test_gridfs.TestGridfsReplicaSet.test_gridfs_secondary_lazy",
            "test_replica_set_client.TestReplicaSetClient.test_properties",
        ],
        why: "they take the members' addresses from replSetGetStatus, which tells of the nodes behind the proxy",
    },
];

/// The reason of this test's failure through the proxy.
pub(crate) fn of(outcome: &Outcome) -> Option<&'static Reason> {
    let id = outcome.id.strip_prefix("test.").unwrap_or(&outcome.id);
    REASONS.iter().find(|reason| reason.tests.contains(&id))
}
