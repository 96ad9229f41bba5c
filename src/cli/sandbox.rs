//! `tidegate sandbox`.

use std::path::PathBuf;

use super::{Failure, locate, run::prepare};
use crate::{config::Loader, sandbox::demo::DemoOptions, telemetry::log};

/// Starts a real local replica set and a proxy in front of it, to try things out.
///
/// Prints the URI for applications, and stops and removes everything on Ctrl-C.
///
/// mongod is the binary in TIDEGATE_MONGOD, else the one in PATH, else one that is downloaded once.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(super) struct Arguments {
    /// How many data-bearing nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    nodes: u8,
    /// How many arbiters besides
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=6))]
    arbiters: u8,
    /// Keep the data in this folder, and use what is there [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the proxy listens [default: 127.0.0.1:27018]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where the admin endpoint listens, or "off" [default: 127.0.0.1:9218]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// A configuration file; all but its [upstream] applies
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

const HELP: &str = "\
Examples:
  tidegate sandbox
  tidegate sandbox --nodes 5 --listen 127.0.0.1:27117 --admin 127.0.0.1:9318
  tidegate sandbox --data ./data --config proxy.toml
  TIDEGATE_MONGOD=/opt/mongodb/bin/mongod tidegate sandbox

Exit codes: 0 stopped as asked; 1 failure, or mistakes in the configuration; 2 wrong arguments.";

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let loader = loader(&arguments, locate::loader(arguments.config.as_deref())?);
    // Mistakes show now, not once the set is up; its URI is not known yet.
    let config = loader
        .clone()
        .set("upstream.uri", "mongodb://127.0.0.1", "the sandbox's URI")
        .load()?;
    log::init(&config.log)?;
    prepare(&config);
    let set = DemoOptions {
        nodes: arguments.nodes.into(),
        arbiters: arguments.arbiters.into(),
        data: arguments.data,
    };
    crate::app::sandbox(&set, loader).map_err(Failure::work)
}

fn loader(arguments: &Arguments, loader: Loader) -> Loader {
    let given = [
        ("listener.0.address", &arguments.listen, "--listen"),
        ("admin.address", &arguments.admin, "--admin"),
    ];
    given
        .into_iter()
        .fold(loader, |loader, (key, value, called)| match value {
            Some(value) => loader.set(key, value, called),
            None => loader,
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Wrapper {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parsed(line: &str) -> Arguments {
        Wrapper::try_parse_from(line.split(' ')).unwrap().arguments
    }

    #[test]
    fn arguments_win_over_the_file_and_the_sets_uri_over_its_upstream() {
        let text =
            "[upstream]\nuri_file = '/nowhere'\n[[listener]]\naddress = '127.0.0.1:1'\n[pool]\nmax_size = 7";
        let file = Loader::new().text(Path::new("a.toml"), text);
        let loader = loader(&parsed("sandbox --listen 127.0.0.1:2 --admin off"), file);
        let config = loader
            .set("upstream.uri", "mongodb://127.0.0.1:5", "the sandbox's URI")
            .load()
            .unwrap();
        assert_eq!(config.listeners.len(), 1);
        assert_eq!(config.listeners[0].address.tcp().unwrap().port(), 2);
        assert_eq!((config.admin, config.pool.max_size), (None, 7));
        assert_eq!(config.upstream.seeds[0].port(), 5);
    }

    #[test]
    fn mistakes_name_the_argument() {
        let loader = loader(&parsed("sandbox --listen nowhere"), Loader::new());
        let mistakes = loader
            .set("upstream.uri", "mongodb://a", "the sandbox's URI")
            .load()
            .unwrap_err();
        assert!(
            mistakes.to_string().starts_with("--listen: \"nowhere\" is not"),
            "{mistakes}"
        );
    }
}
