//! The limit on open files, of which every connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Files beside those of clients and pools: standard streams, listeners, event queues, the log, admin requests.
const BESIDE: u64 = 128;
/// A connection to a node has a second descriptor, by which it is ended when the node hangs.
const FILES_PER_CONNECTION: u64 = 2;
/// Connections to a node that belong to no pool: its monitor's two.
const MONITORING: u64 = 2;

/// Raises this process's soft limit on open files to its hard limit, and returns both as they are then; `u64::MAX`
/// stands for no limit. Where raising fails the soft limit stays as it was.
pub fn raise_file_limit() -> (u64, u64) {
    let limit = getrlimit(Resource::Nofile);
    // A failure is no reason not to start: the limit that is returned, and logged, is the one that holds.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    file_limit()
}

/// The soft and the hard limit; `u64::MAX` stands for no limit.
pub(super) fn file_limit() -> (u64, u64) {
    let limit = getrlimit(Resource::Nofile);
    (
        limit.current.unwrap_or(u64::MAX),
        limit.maximum.unwrap_or(u64::MAX),
    )
}

/// The most files that this configuration can have open with so many data-bearing nodes; at least those that it names.
pub(super) fn files_needed(config: &Config, nodes: usize) -> u64 {
    let nodes = nodes.max(config.upstream.seeds.len()).max(1) as u64;
    let connections = (config.pool.most() as u64).saturating_add(MONITORING);
    let per_node = connections.saturating_mul(FILES_PER_CONNECTION);
    (config.limits.max_clients as u64)
        .saturating_add(nodes.saturating_mul(per_node))
        .saturating_add(BESIDE)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Loader;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let (soft, hard) = raise_file_limit();
        assert_eq!(soft, hard);
        assert_eq!(file_limit(), (soft, hard));
    }

    #[test]
    fn clients_count_once_and_connections_to_nodes_twice() {
        let text = "[upstream]\nuri = 'mongodb://a,b,c'\n[pool]\nmax_size = 30\nmax_awaiting = 20\n[limits]\nmax_clients = 1000";
        let config = Loader::new().text(Path::new("a.toml"), text).load().unwrap();
        assert_eq!(files_needed(&config, 0), 1000 + 3 * 52 * 2 + 128);
        assert_eq!(files_needed(&config, 5), 1000 + 5 * 52 * 2 + 128);
    }
}
