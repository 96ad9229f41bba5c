//! Why a test that passes directly fails through Tidegate, test by test.
//!
//! Invariant: a failure without a reason here makes the run fail, and a reason whose failure no longer occurs is reported.

use super::suite::{Mode, Outcome};

/// The reason of some tests' failures.
#[derive(Debug)]
pub(crate) struct Reason {
    /// Where it holds.
    modes: &'static [Mode],
    /// The tests' ids; each `*` stands for any text.
    tests: &'static [&'static str],
    /// Completes "it fails because".
    pub(crate) why: &'static str,
}

/// The tests see a fail point of a node through the proxy, which does what they want the driver to do.
const SENT_AGAIN: &str = "they expect that the driver is told of a node's failure, and sends the write again; the proxy sends it again itself, and the \
                          driver sees one attempt, which succeeds";

/// Every reason that is known.
pub(crate) const REASONS: &[Reason] = &[
    Reason {
        modes: &[Mode::Mongos],
        tests: &[
            "test/test_change_stream.py::TestUnifiedChangeStreamsShowExpandedEvents::test_when_showExpandedEvents_is_true,_shardCollection_events_are_reported",
        ],
        why: "nothing can be sharded: behind the mongos that is presented there is one replica set",
    },
    Reason {
        modes: &[Mode::Mongos],
        tests: &[
            "test/test_transactions_unified.py::TestUnifiedMongosRecoveryToken::test_commitTransaction_retry_fails_on_new_mongos",
            "test/test_transactions_unified.py::TestUnifiedPinMongos::test_unpin_after_transient_error_within_a_transaction_and_commit",
        ],
        why: "they expect a second mongos that does not know the transaction; the proxy is one address, and finds it again",
    },
    Reason {
        modes: &[Mode::Mongos],
        tests: &[
            "test/test_discovery_and_monitoring.py::TestUnifiedLoggingSharded::test_Topology_lifecycle",
            "test/test_discovery_and_monitoring.py::TestUnifiedShardedEmitTopologyChangedBeforeClose::test_Topology_lifecycle",
        ],
        why: "they wait until each of two mongos has been found; the proxy is one address",
    },
    Reason {
        modes: &[Mode::Mongos],
        tests: &[
            "test/test_load_balancer.py::TestLoadBalancerNonLbConnectionEstablishment::test_operations_against_non-load_balanced_clusters_fail_if_URI_contains_loadBalanced=true",
        ],
        why: "it expects a mongos that is no load balancer's; each listener serves loadBalanced=true as well",
    },
    Reason {
        modes: &[Mode::ReplicaSet],
        tests: &[
            "test/test_discovery_and_monitoring.py::TestUnifiedLoggingReplicaset::test_Topology_lifecycle",
            "test/test_discovery_and_monitoring.py::TestUnifiedReplicasetEmitTopologyChangedBeforeClose::test_Topology_lifecycle",
            "test/test_server_selection_logging.py::TestServerSelectionLoggingReplicaSet::test_A_successful_operation",
            "test/test_server_selection_logging.py::TestServerSelectionLoggingReplicaSet::test_Server_selection_fails_due_to_unsatisfiable_read_preference",
        ],
        why: "they wait until each of three members has been found; two are shown",
    },
    Reason {
        modes: &[Mode::ReplicaSet],
        tests: &[
            "test/test_client.py::TestClient::test_drop_database",
            "test/test_collection.py::TestCollection::test_aggregate",
            "test/test_collection.py::TestCollection::test_create_index",
            "test/test_collection.py::TestCollection::test_create_indexes",
            "test/test_collection.py::TestCollection::test_drop_index",
            "test/test_collection.py::TestCollection::test_find_one_and_write_concern",
            "test/test_collection.py::TestCollection::test_rename",
            "test/test_read_write_concern_spec.py::TestReadWriteConcernSpec::test_raise_write_concern_error",
            "test/test_read_write_concern_spec.py::TestReadWriteConcernSpec::test_raise_wtimeout",
        ],
        why: "they expect an error of w: 3, one more than the members that are shown; there are three, and the write succeeds",
    },
    Reason {
        modes: &[Mode::ReplicaSet],
        tests: &[
            "test/test_collection.py::TestCollection::test_aggregation_cursor",
            "test/test_gridfs.py::TestGridfsReplicaSet::test_gridfs_replica_set",
            "test/test_gridfs_bucket.py::TestGridfsBucketReplicaSet::test_gridfs_replica_set",
            "test/test_read_preferences.py::TestSingleSecondaryOk::test_reads_from_secondary",
            "test/test_read_preferences.py::TestReadPreferences::test_nearest",
        ],
        why: "they write with w: 2, the number of members that are shown, and read from secondaries; the third may not have it yet",
    },
    Reason {
        modes: &[Mode::ReplicaSet],
        tests: &[
            "test/test_command_monitoring.py::TestCommandMonitoringWriteConcernError::test_A_retryable_write_with_write_concern_errors_publishes_success_event",
            "test/test_retryable_writes.py::TestPoolPausedError::test_returns_original_error_code",
        ],
        why: "a state change of a node, reported as a write concern error, is masked, for the driver would take the proxy for down",
    },
    Reason {
        modes: &[Mode::ReplicaSet],
        tests: &[
            "test/test_discovery_and_monitoring.py::TestUnifiedRediscoverQuicklyAfterStepDown::test_Rediscover_quickly_after_replSetStepDown",
        ],
        why: "it waits for another primary after replSetStepDown; the address that is shown as the primary stays it",
    },
    Reason {
        modes: &[Mode::ReplicaSet],
        tests: &[
            "test/test_retryable_writes.py::TestRetryableWrites::test_batch_splitting_retry_fails",
            "test/test_retryable_writes.py::TestRetryableWrites::test_retry_timeout_raises_original_error",
        ],
        why: "a node that closes a connection in mid-write, by a fail point of its own, comes to the client as an error document, not as a closed connection",
    },
    Reason {
        modes: &[Mode::Mongos, Mode::ReplicaSet, Mode::LoadBalanced],
        tests: &[
            "test/test_transactions_unified.py::TestUnifiedErrorLabelsErrorLabels::test_add_RetryableWriteError_and_UnknownTransactionCommitResult_labels_to_writeConcernError_ShutdownInProgress",
            "test/test_transactions_unified.py::TestUnifiedMongosRecoveryTokenErrorLabels::test_commitTransaction_retry_succeeds_on_new_mongos",
            "test/test_transactions_unified.py::TestUnifiedRetryableAbortErrorLabels::test_abortTransaction_succeeds_after_WriteConcernError_*",
            "test/test_transactions_unified.py::TestUnifiedRetryableCommitErrorLabels::test_commitTransaction_succeeds_after_WriteConcernError_*",
        ],
        why: SENT_AGAIN,
    },
    Reason {
        modes: &[Mode::ReplicaSet, Mode::LoadBalanced],
        tests: &[
            "test/test_retryable_writes_unified.py::TestUnifiedBulkWriteServerErrors::test_BulkWrite_succeeds_after_retryable_writeConcernError_in_first_batch",
            "test/test_retryable_writes_unified.py::TestUnifiedInsertOneErrorLabels::test_InsertOne_fails_after_multiple_retryable_writeConcernErrors",
            "test/test_retryable_writes_unified.py::TestUnifiedInsertOneServerErrors::test_InsertOne_succeeds_after_retryable_writeConcernError",
        ],
        why: SENT_AGAIN,
    },
    Reason {
        modes: &[Mode::ReplicaSet],
        tests: &[
            "test/test_retryable_writes_unified.py::TestUnified*::test_*_is_committed_on_first_attempt",
            "test/test_retryable_writes_unified.py::TestUnified*::test_*_is_never_committed",
            "test/test_retryable_writes_unified.py::TestUnifiedBulkWrite::test_BulkWrite_with_unordered_execution",
            "test/test_retryable_writes_unified.py::TestUnifiedBulkWrite::test_First_command_is_retried",
            "test/test_retryable_writes_unified.py::TestUnifiedInsertMany::test_InsertMany_succeeds_after_one_network_error",
            "test/test_retryable_writes_unified.py::TestUnifiedInsertMany::test_InsertMany_with_unordered_execution",
        ],
        why: SENT_AGAIN,
    },
    Reason {
        modes: &[Mode::LoadBalanced],
        tests: &[
            "test/test_client_backpressure.py::TestBackpressure::test_retry_overload_error_getMore",
            "test/test_client_backpressure.py::TestClientBackpressureGetMoreRetried::test_getMores_are_retried*",
        ],
        why: "PyMongo does not send a getMore again whose cursor is pinned to a connection, as all are in this mode",
    },
    Reason {
        modes: &[Mode::LoadBalanced],
        tests: &[
            "test/test_load_balancer.py::TestLoadBalancerSdamErrorHandling::test_only_connections_for_a_specific_serviceId_are_closed_when_pools_are_cleared",
            "test/test_load_balancer.py::TestLoadBalancerTransactions::test_pinned_connection_is_released_after_a_transient_network_commit_error",
        ],
        why: "they count on two services behind the load balancer, of which the second does not know what the first has begun; there is one",
    },
];

impl Reason {
    pub(crate) fn holds_in(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    fn covers(&self, mode: Mode, id: &str) -> bool {
        self.holds_in(mode) && self.tests.iter().any(|pattern| matches(pattern, id))
    }
}

/// The reason for this failure, if one is known.
pub(crate) fn of(mode: Mode, outcome: &Outcome) -> Option<&'static Reason> {
    REASONS.iter().find(|reason| reason.covers(mode, &outcome.id))
}

/// Patterns of reasons in `mode` that none of the failures needs.
pub(crate) fn unneeded<'a>(
    mode: Mode,
    failures: &'a [&'a Outcome],
) -> impl Iterator<Item = &'static str> + 'a {
    let needed = |pattern: &&str| failures.iter().any(|failure| matches(pattern, &failure.id));
    REASONS
        .iter()
        .filter(move |reason| reason.holds_in(mode))
        .flat_map(|reason| reason.tests.iter().copied())
        .filter(move |pattern| !needed(pattern))
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(head) else {
        return false;
    };
    // The last part must end the text; every other one is taken where it comes first.
    let parts: Vec<&str> = rest.split('*').collect();
    let Some((last, middle)) = parts.split_last() else {
        return true;
    };
    let mut text = text;
    for part in middle {
        match text.split_once(part) {
            Some((_, behind)) => text = behind,
            None => return false,
        }
    }
    text.ends_with(last)
}
