//! `tidegate user`.

use std::path::PathBuf;

use super::{Failure, locate, say};
use crate::{
    app::{Imported, import_users},
    auth::UserName,
};

/// Looks after the users file ([auth] source = "file").
///
/// It says who may log in where that is not to be asked of the cluster at each login. It holds no passwords.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Import(Import),
}

/// Copies the SCRAM credentials of a user, or of all users, from the cluster into the users file.
///
/// They are read with the user of [upstream] uri, which needs a role with find on admin.system.users. Entries that are there get the
/// cluster's present credentials and keep the rest; others are added. No password is read or written.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
struct Import {
    /// The user, as NAME@DATABASE; without one, all users
    #[arg(value_name = "NAME@DB", value_parser = user_name)]
    user: Option<UserName>,
    /// The users file [default: users_file in [auth]]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration file (TOML) [default: ./proxy.toml]
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,
}

const HELP: &str = "\
Examples:
  tidegate user import --config proxy.toml
  tidegate user import ann@shop --file /etc/tidegate/users.toml

Exit codes: 0 success; 1 the users could not be read, or the file not be written; 2 wrong arguments.";

/// There is no file to write to.
#[derive(Debug, thiserror::Error)]
#[error("there is no users file: name it with --file, or write users_file in [auth]")]
struct NoFile;

fn user_name(text: &str) -> Result<UserName, String> {
    match text.rsplit_once('@') {
        Some((name, db)) if !name.is_empty() && !db.is_empty() => Ok(UserName::new(db, name)),
        _ => Err("write NAME@DATABASE, as in ann@admin".to_owned()),
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Command::Import(Import { user, file, config }) = arguments.command;
    let found = locate::file(config)?;
    let config = locate::loader(found.as_deref())?.load()?;
    let path = file.or_else(|| config.auth.users_file.clone());
    let path = path.ok_or_else(|| Failure::work(NoFile))?;
    let Imported { users, left_out } = import_users(&config, &path, user.as_ref()).map_err(Failure::work)?;
    let names = |users: &[UserName]| {
        users
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    say(format_args!(
        "{}: {} imported: {}",
        path.display(),
        users.len(),
        names(&users)
    ));
    if !left_out.is_empty() {
        say(format_args!(
            "left out, without SCRAM credentials: {}",
            names(&left_out)
        ));
    }
    Ok(())
}
