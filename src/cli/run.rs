//! `tidegate run`.

use std::path::{Path, PathBuf};

use super::{Failure, file_limit, hardening, locate};
use crate::{
    app::Source,
    config::{Config, Mistakes},
    telemetry::log,
};

/// Runs the proxy.
///
/// It stops on SIGINT, and drains on SIGTERM: it takes no new clients after [drain] grace, lets the others end their transactions
/// and cursors, and ends. A second signal ends it at once. On SIGHUP, and when the file changes, it reads its configuration again. Without --config, the file is the one in TIDEGATE_CONFIG, else ./proxy.toml; with
/// TIDEGATE_UPSTREAM__URI set, no file is needed. If the configuration has mistakes, all are reported and nothing is
/// started.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(super) struct Arguments {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Take the listening sockets over from the proxy whose [upgrade] socket this is; it must be there
    #[arg(long, value_name = "SOCKET")]
    take_over: Option<PathBuf>,
}

const HELP: &str = "\
Examples:
  tidegate run --config proxy.toml
  TIDEGATE_POOL__MAX_SIZE=50 tidegate run --config proxy.toml
  TIDEGATE_UPSTREAM__URI='mongodb://db1,db2,db3/?replicaSet=rs0' tidegate run
  TIDEGATE_LOG=debug tidegate run
  tidegate run --config proxy.toml --take-over /run/tidegate/upgrade.sock

The log goes to standard error. The limit on open files is raised to its hard limit. The process leaves no core dumps,
and only root can look into it with a debugger.

Exit codes: 0 stopped as asked; 1 failure, or mistakes in the configuration; 2 wrong arguments.";

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    // Before anything secret is read.
    let kept = hardening::keep_memory_private();
    let file = locate::file(arguments.config)?;
    let config = load(file.as_deref())?;
    log::init(&config.log)?;
    if let Err(error) = kept {
        tracing::warn!(%error, "other processes of this user can read this one's memory");
    }
    prepare(&config);
    let source = Source::new(file.clone(), move || load(file.as_deref()));
    crate::app::run(&config, source, arguments.take_over.as_deref()).map_err(Failure::work)
}

/// Reads the configuration, now or again. Environment variables win over the file each time.
fn load(file: Option<&Path>) -> Result<Config, Mistakes> {
    locate::loader(file)?.load()
}

/// Logs what is worth a look and raises the file limit.
pub(super) fn prepare(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let (soft, hard) = file_limit::raise_file_limit();
    let needed = file_limit::files_needed(config, 0);
    if needed > soft {
        tracing::warn!(
            needed,
            soft,
            hard,
            "the limit on open files is less than this configuration may need"
        );
    } else {
        tracing::debug!(needed, soft, hard, "raised the limit on open files");
    }
}
