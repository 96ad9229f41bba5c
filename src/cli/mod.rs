//! The command line: `run`, `check`, `sandbox`, `user`, and what asks a running proxy or has it do something (`status`, `drain` ...).
//!
//! Each command has a file; it reads its arguments, sets up what a process needs (configuration, log, file limit)
//! and hands over to the module that does the work. Exit codes: 0 for success, 1 for a failure or a wrong
//! configuration, 2 for wrong arguments.

mod act;
mod check;
#[cfg(test)]
mod documented;
mod endpoint;
mod file_limit;
mod generate;
mod hardening;
mod locate;
mod run;
mod sandbox;
mod status;
mod user;

use std::{fmt, io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

pub use file_limit::raise_file_limit;

use crate::{config::Mistakes, telemetry::log};

/// Stands between applications and a MongoDB replica set: pooled connections, reads sent where their read preference
/// asks, one address for the whole set.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_long_help = HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Sandbox(sandbox::Arguments),
    Status(status::Status),
    Topology(status::Topology),
    Pools(status::Pools),
    Clients(status::Clients),
    Cursors(status::Cursors),
    Config(status::Config),
    Reload(act::Reload),
    Drain(act::Drain),
    Pause(act::Pause),
    Resume(act::Resume),
    Reconnect(act::Reconnect),
    Avoid(act::Avoid),
    LogLevel(act::LogLevel),
    Kill(act::Kill),
    User(user::Arguments),
    #[command(hide = true)]
    Completions(generate::Completions),
    #[command(hide = true)]
    Man(generate::Man),
}

const HELP: &str = "\
Examples:
  tidegate sandbox                        try it: a replica set and a proxy, on this machine
  tidegate check --config proxy.toml      look for mistakes before a start
  tidegate run --config proxy.toml        run the proxy
  tidegate status                         see how it is doing
  tidegate reload                         have it read its configuration again
  tidegate clients --state in_command     see who is connected, and what each is at
  tidegate log-level debug --for 5m       log more for a while
  tidegate drain                          have it end without errors for its clients
  tidegate user import                    copy users from the cluster into the users file

Environment variables:
  TIDEGATE_CONFIG               the configuration file, where --config is not given
  TIDEGATE_SECTION__KEY         a setting, over the file: TIDEGATE_UPSTREAM__URI, TIDEGATE_POOL__MAX_SIZE,
                                TIDEGATE_LISTENER__0__ADDRESS (listeners count from 0)
  TIDEGATE_LOG                  the log's level, over all else: debug, or info,tidegate::pool=trace
  TIDEGATE_TOKEN                the token that the admin endpoint demands, for `tidegate status` and the like
  TIDEGATE_MONGOD               the mongod binary of the sandbox

Exit codes: 0 success; 1 failure, or mistakes in the configuration; 2 wrong arguments.";

/// Why a command failed. Its text is for people, and ends the program.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}", Counted(.0))]
    Config(#[from] Mistakes),
    #[error(transparent)]
    NoConfig(#[from] locate::NoConfig),
    #[error(transparent)]
    Log(#[from] log::Error),
    /// What the work itself failed with.
    #[error("{}", Chain(&**.0))]
    Work(Box<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    fn work(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Work(Box::new(error))
    }
}

/// Mistakes, and how many.
struct Counted<'a>(&'a Mistakes);

impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.count();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{}\n{count} mistake{plural} in the configuration", self.0)
    }
}

/// An error and its causes on one line; a cause that its error quotes already is left out.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.contains(&said) {
                text = format!("{text}: {said}");
            }
            cause = error.source();
        }
        write!(f, "tidegate: {text}")
    }
}

/// Reads the arguments, does what they ask and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Sandbox(arguments) => sandbox::run(arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Topology(arguments) => status::topology(&arguments),
        Command::Pools(arguments) => status::pools(&arguments),
        Command::Clients(arguments) => status::clients(arguments),
        Command::Cursors(arguments) => status::cursors(&arguments),
        Command::Config(arguments) => status::config(&arguments),
        Command::Reload(arguments) => act::reload(&arguments),
        Command::Drain(arguments) => act::drain(&arguments),
        Command::Pause(arguments) => act::pause(&arguments),
        Command::Resume(arguments) => act::resume(&arguments),
        Command::Reconnect(arguments) => act::reconnect(arguments),
        Command::Avoid(arguments) => act::avoid(arguments),
        Command::LogLevel(arguments) => act::log_level(arguments),
        Command::Kill(arguments) => act::kill(&arguments),
        Command::User(arguments) => user::run(arguments),
        Command::Completions(arguments) => generate::completions(&arguments),
        Command::Man(arguments) => generate::man(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to standard output; a reader that has gone (`| head`) is none of our concern.
fn say(line: impl fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Writes a line to standard error.
fn complain(line: impl fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_description_examples_and_exit_codes_in_its_long_help() {
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(command.get_long_about().is_some(), "{}", command.get_name());
            assert!(
                help.contains("Examples:") && help.contains("Exit codes:"),
                "{}: {help}",
                command.get_name()
            );
        }
    }

    #[test]
    fn commands_take_their_arguments() {
        for line in [
            "tidegate run",
            "tidegate run --config a.toml",
            "tidegate check --config a.toml --connect",
            "tidegate sandbox --nodes 5 --arbiters 1 --data /x --listen 127.0.0.1:1 --admin off --config a.toml",
            "tidegate user import --config a.toml",
            "tidegate user import ann@shop --file users.toml",
            "tidegate status --admin http://127.0.0.1:9218 --token-file t --json",
            "tidegate drain --admin http://127.0.0.1:9218 --token-file t --json",
            "tidegate pause",
            "tidegate reload --json",
            "tidegate resume --json",
            "tidegate status --ready",
            "tidegate topology --admin https://proxy:9218 --ca ca.pem",
            "tidegate pools --json",
            "tidegate clients --user ann@shop --application a --state idle --limit 5",
            "tidegate cursors --limit 5",
            "tidegate config",
            "tidegate reconnect db1:27017",
            "tidegate avoid db1:27017 --for 5m",
            "tidegate avoid db1:27017 --off",
            "tidegate log-level debug --for 90s --json",
            "tidegate log-level",
            "tidegate kill 7",
            "tidegate completions bash",
            "tidegate completions zsh",
            "tidegate completions fish",
            "tidegate man",
            "tidegate man /tmp/man",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "tidegate",
            "tidegate rum",
            "tidegate run a.toml",
            "tidegate sandbox --nodes 0",
            "tidegate run --nodes 1",
            "tidegate user",
            "tidegate user import ann",
            "tidegate status --ready --json",
            "tidegate reconnect",
            "tidegate avoid db1:27017 --for 5m --off",
            "tidegate log-level --for 5m",
            "tidegate kill ann",
        ] {
            assert_eq!(
                Cli::try_parse_from(line.split(' ')).unwrap_err().exit_code(),
                2,
                "{line}"
            );
        }
    }
}
