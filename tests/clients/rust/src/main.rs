//! The official Rust driver, directly or through Tidegate. Usage: URI SINGLE_URI DATABASE, or login URI..., or load URI...

mod cursors;
mod documents;
mod harness;
mod load;
mod login;
mod options;
mod sessions;
mod topology;

use std::process::ExitCode;

use harness::Scenario;

macro_rules! scenarios {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$((stringify!($name), |context| Box::pin($module::$name(context)))),*]
    };
}

const SCENARIOS: &[(&str, Scenario)] = scenarios![
    documents::insert_find_update_replace_delete,
    documents::find_one_and_modify_it,
    documents::aggregation_and_distinct_values,
    documents::many_writes,
    documents::indexes,
    documents::collections_and_errors,
    documents::a_hundred_operations_at_once_over_few_connections,
    documents::a_file_goes_up_and_comes_down,
    cursors::cursors_over_many_batches,
    cursors::cursors_on_every_kind_of_node,
    cursors::a_cursor_dropped_early_is_killed,
    cursors::tailable_cursors_wait_for_documents,
    cursors::change_streams_of_a_collection_a_database_and_the_set,
    cursors::a_change_stream_resumes_when_its_cursor_is_killed,
    cursors::a_change_stream_is_resumed_by_a_token_of_another,
    sessions::with_transaction_commits_all,
    sessions::with_transaction_retries_a_conflict,
    sessions::transactions_abort,
    sessions::cursors_in_a_transaction,
    sessions::a_causal_session_reads_its_writes_on_secondaries,
    sessions::a_snapshot_session_reads_one_moment,
    options::the_versioned_api_strict_with_deprecation_errors,
    options::compressors,
    options::options_of_the_uri,
    options::direct_connection,
    topology::the_topology,
    topology::cursors_and_transactions_over_ever_new_connections,
];

// Several threads: dropped cursors are killed by tasks of the driver's own.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "login") {
        login::run(&arguments[1..]).await.unwrap();
        return ExitCode::SUCCESS;
    }
    if arguments.first().is_some_and(|first| first == "load") {
        load::run(&arguments[1..]).await.unwrap();
        return ExitCode::SUCCESS;
    }
    if harness::run(SCENARIOS).await {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
