//! `tidegate check`.

use std::path::PathBuf;

use super::{Failure, complain, file_limit, locate, say};
use crate::{
    auth::Source,
    client::{ListenerOptions, Presentation, Reach},
    config::{Config, display_size, read_users},
    failover,
    topology::Address,
};

/// Checks a configuration and shows what it means.
///
/// Nothing is started. Prints every mistake with file, line and key, then what is worth a look, then what the
/// configuration means. Mistakes and warnings go to standard error, the summary to standard output.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(super) struct Arguments {
    /// The configuration file (TOML) [default: ./proxy.toml]
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Connect to the nodes too, and compare the pools with the connections that they have left
    #[arg(long)]
    connect: bool,
}

const HELP: &str = "\
Examples:
  tidegate check --config proxy.toml
  tidegate check --config proxy.toml --connect

Environment variables such as TIDEGATE_POOL__MAX_SIZE count here as they do for `tidegate run`.

Exit codes: 0 no mistakes (and with --connect the nodes answered); 1 mistakes, or no node answered;
2 wrong arguments.";

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let file = locate::file(arguments.config)?;
    let config = locate::loader(file.as_deref())?.load()?;
    for warning in &config.warnings {
        complain(format_args!("warning: {warning}"));
    }
    if let Some(path) = &config.auth.users_file {
        read_users(path).map_err(Failure::work)?;
    }
    let (_, hard) = file_limit::file_limit();
    let needed = file_limit::files_needed(&config, 0);
    warn_of_files(needed, hard);
    match file {
        Some(file) => say(format_args!("ok: {}", file.display())),
        None => say("ok: defaults and environment variables"),
    }
    for line in summary(&config, needed, hard) {
        say(format_args!("  {line}"));
    }
    if arguments.connect {
        let checked = crate::app::check_connect(&config).map_err(Failure::work)?;
        checked.lines.iter().for_each(say);
        let found = file_limit::files_needed(&config, checked.nodes);
        if found > needed {
            say(format_args!(
                "files: up to {found} with the nodes that were found, of {hard}"
            ));
            warn_of_files(found, hard);
        }
    }
    Ok(())
}

fn warn_of_files(needed: u64, hard: u64) {
    if needed > hard {
        complain(format_args!(
            "warning: up to {needed} files may be open at once, and the hard limit is {hard}: \
             lower max_clients, max_size or max_awaiting, or raise the limit (ulimit -Hn)"
        ));
    }
}

/// Where a listener listens, and as what.
fn listener_line(listener: &ListenerOptions) -> String {
    let advertised = |advertise: &Option<Address>| {
        advertise
            .as_ref()
            .map_or(String::new(), |address| format!(" advertised as {address}"))
    };
    let address = format!("{}{}", listener.address, advertised(&listener.advertise));
    let rules = rules(listener);
    let secondary = listener.twin.as_ref().map_or(String::new(), |twin| {
        format!(
            ", its secondary on {}{}",
            twin.address,
            advertised(&twin.advertise)
        )
    });
    match (&listener.reach, listener.presents_as) {
        (Reach::Node(node), _) => format!("{address} as the member {node} alone{rules}"),
        (_, Presentation::Mongos) => format!("{address} as mongos, {}{rules}", listener.read_preference),
        (_, Presentation::ReplicaSet) => {
            format!(
                "{address} as the primary of the set{secondary}, {}{rules}",
                listener.read_preference
            )
        }
    }
}

/// As whom Tidegate and its clients log in.
fn logins_line(config: &Config) -> String {
    let names: Vec<_> = config.auth.mechanisms.iter().map(|by| by.name()).collect();
    let by = names.join(", ");
    let clients = match config.auth.source {
        Source::None => "clients need not log in".to_owned(),
        Source::Backend => format!("clients as users of the cluster, by {by}"),
        Source::File => format!("clients as users of the users file, by {by}"),
    };
    let nodes = match &config.upstream.service {
        Some(login) => format!("; to nodes as the user of the uri, kept in {}", login.user().db),
        None => String::new(),
    };
    format!("{clients}{nodes}")
}

/// What a listener denies.
fn rules(listener: &ListenerOptions) -> String {
    let networks: Vec<_> = listener.allow_networks.iter().map(ToString::to_string).collect();
    let from = match networks.as_slice() {
        [] => String::new(),
        networks => format!(", from {} only", networks.join(", ")),
    };
    let denies = listener
        .policy
        .as_ref()
        .map_or(String::new(), |policy| format!(", {policy}"));
    from + &denies
}

/// What becomes of commands and writes in an election.
fn failover_line(failover: &failover::Options) -> String {
    let held = if failover.hold.is_zero() {
        "commands are not held".to_owned()
    } else {
        format!(
            "up to {} commands and {} held for up to {}",
            failover.hold_commands,
            display_size(failover.hold_bytes),
            humantime::format_duration(failover.hold)
        )
    };
    let writes = if failover.exactly_once {
        "writes applied exactly once"
    } else {
        "writes without a number not sent again"
    };
    format!("{held}; {writes}")
}

/// What the configuration means, a line for each part.
fn summary(config: &Config, needed: u64, hard: u64) -> Vec<String> {
    let Config {
        upstream,
        pool,
        limits,
        ..
    } = config;
    let seeds: Vec<_> = upstream.seeds.iter().map(ToString::to_string).collect();
    let set = upstream
        .set_name
        .as_ref()
        .map_or("any replica set".to_owned(), |name| format!("replica set {name}"));
    let kind = if upstream.direct {
        "this one node only".to_owned()
    } else {
        set
    };
    let (nodes, over_all) = match &upstream.srv {
        Some(srv) => (
            format!("those that {} names in the DNS", srv.name()),
            String::new(),
        ),
        None => {
            let most = pool.most().saturating_mul(seeds.len());
            (seeds.join(", "), format!(", {most} over the nodes named"))
        }
    };
    let mut lines = vec![
        format!("nodes      {nodes} ({kind})"),
        format!(
            "pools      {} to {} connections per node and up to {} that await new documents{over_all}; \
             {} connecting at once per node",
            pool.min_size, pool.max_size, pool.max_awaiting, pool.max_connecting
        ),
    ];
    for listener in &config.listeners {
        lines.push(format!("listener   {}", listener_line(listener)));
    }
    lines.push(format!("logins     {}", logins_line(config)));
    let each = limits
        .max_clients_per_address
        .map_or(String::new(), |most| format!(", {most} per address"));
    lines.push(format!(
        "clients    up to {}{each}; {} of buffers",
        limits.max_clients,
        display_size(limits.buffer_bytes)
    ));
    lines.push(format!("failover   {}", failover_line(&config.failover)));
    lines.push(match &config.admin {
        Some(admin) => {
            let scheme = if admin.tls.is_some() { "https" } else { "http" };
            let demands = match (&admin.access, admin.access.by_certificate) {
                (access, _) if access.is_open() => "",
                (_, true) => ", with a certificate or token",
                (_, false) => ", with a token",
            };
            format!("admin      {scheme}://{}{demands}", admin.address)
        }
        None => "admin      off".to_owned(),
    });
    let hard = if hard == u64::MAX {
        "unlimited".to_owned()
    } else {
        hard.to_string()
    };
    lines.push(format!(
        "files      up to {needed} open at once; the hard limit is {hard}"
    ));
    lines
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Loader;

    #[test]
    fn the_summary_names_nodes_pools_listeners_and_limits() {
        let text = "[upstream]\nuri = 'mongodb://a,b:27019/?replicaSet=rs0'\n[[listener]]\nread_preference = 'nearest'\n\
                    [pool]\nmax_size = 50\nmin_size = 5\n[admin]\naddress = 'off'";
        let config = Loader::new().text(Path::new("a.toml"), text).load().unwrap();
        let lines = summary(&config, 10_232, u64::MAX).join("\n");
        for part in [
            "a:27017, b:27019 (replica set rs0)",
            "5 to 50 connections per node and up to 100 that await new documents, 300 over",
            "127.0.0.1:27018 as mongos, readPreference=nearest",
            "logins     clients need not log in",
            "up to 10000; 512MiB",
            "up to 10000 commands and 128MiB held for up to 30s; writes applied exactly once",
            "admin      off",
            "up to 10232 open at once; the hard limit is unlimited",
        ] {
            assert!(lines.contains(part), "{part} is not in\n{lines}");
        }
    }

    #[test]
    fn listeners_are_summed_up_as_what_they_present() {
        let text = "[upstream]\nuri = 'mongodb://a'\n\
                    [[listener]]\naddress = '/run/t.sock'\n\
                    [[listener]]\naddress = '127.0.0.1:1'\npresents_as = 'replica_set'\nadvertise = 'p:10'\n\
                    secondary_address = '127.0.0.1:2'\n\
                    [[listener]]\naddress = '127.0.0.1:3'\nnode = 'b:5'";
        let config = Loader::new().text(Path::new("a.toml"), text).load().unwrap();
        let lines: Vec<_> = config.listeners.iter().map(listener_line).collect();
        assert_eq!(
            lines,
            [
                "/run/t.sock as mongos, readPreference=primary",
                "127.0.0.1:1 advertised as p:10 as the primary of the set, its secondary on 127.0.0.1:2, \
                 readPreference=primary",
                "127.0.0.1:3 as the member b:5 alone",
            ]
        );
    }
}
