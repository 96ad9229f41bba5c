//! Finds a `mongod` that runs here: `$TIDEGATE_MONGOD`, then `PATH`, then the user's cache folder, which is filled once.
//!
//! Invariant: a binary is returned only after `--version` has run, so what comes later is not a missing library.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use super::{Error, fetch};

/// Names a `mongod` to use before all others.
pub const MONGOD_VARIABLE: &str = "TIDEGATE_MONGOD";

/// A first run from a slow disk reads some 140 MB.
const VERSION_TIMEOUT: Duration = Duration::from_secs(60);

/// Where to look, in order.
#[derive(Debug, Clone, Default)]
struct Places {
    /// `$TIDEGATE_MONGOD`.
    named: Option<PathBuf>,
    /// `$PATH`.
    path: Option<OsString>,
    /// `$XDG_CACHE_HOME`, else `~/.cache`.
    cache: Option<PathBuf>,
}

impl Places {
    fn from_environment() -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            named: variable(MONGOD_VARIABLE).map(PathBuf::from),
            path: variable("PATH"),
            cache: variable("XDG_CACHE_HOME")
                .map(PathBuf::from)
                // The XDG base directory specification: relative paths are to be ignored.
                .filter(|path| path.is_absolute())
                .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache"))),
        }
    }
}

/// Finds `mongod`, fetching it if there is none. `progress` is told of anything that takes long.
///
/// # Errors
/// [`Error::MongodNotFound`] with what was tried. A binary named by `$TIDEGATE_MONGOD` that does not run is an error
/// even if another would: who names one means that one.
///
/// Cancel safety: a download in progress is ended and its folder removed.
pub async fn find(progress: &dyn Fn(&str)) -> Result<PathBuf, Error> {
    find_in(&Places::from_environment(), progress).await
}

async fn find_in(places: &Places, progress: &dyn Fn(&str)) -> Result<PathBuf, Error> {
    if let Some(named) = &places.named {
        let failed = |why: String| format!("{MONGOD_VARIABLE} names {}, which {why}", named.display());
        version(named)
            .await
            .map_err(|why| Error::MongodNotFound { tried: failed(why) })?;
        return Ok(named.clone());
    }
    let mut tried = vec![format!("{MONGOD_VARIABLE} is not set")];
    match on_path(places.path.as_ref()) {
        None => tried.push("no `mongod` on PATH".to_owned()),
        Some(found) => match version(&found).await {
            Ok(_) => return Ok(found),
            Err(why) => tried.push(format!("{} from PATH {why}", found.display())),
        },
    }
    let fetched = match &places.cache {
        None => {
            Err("neither HOME nor XDG_CACHE_HOME is set, so there is no folder to fetch one into".to_owned())
        }
        Some(cache) => fetch::cached(&cache.join("tidegate"), progress).await,
    };
    match fetched {
        Ok(found) => match version(&found).await {
            Ok(_) => return Ok(found),
            Err(why) => tried.push(format!("{} {why}", found.display())),
        },
        Err(why) => tried.push(why),
    }
    Err(Error::MongodNotFound {
        tried: tried.join("; "),
    })
}

fn on_path(path: Option<&OsString>) -> Option<PathBuf> {
    env::split_paths(path?)
        .map(|folder| folder.join("mongod"))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// The first line of `mongod --version` without its introduction, such as `v6.0.5`; the error says what failed.
pub(super) async fn version(mongod: &Path) -> Result<String, String> {
    let run = Command::new(mongod)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match timeout(VERSION_TIMEOUT, run).await {
        Err(_) => return Err(format!("did not answer --version within {VERSION_TIMEOUT:?}")),
        Ok(Err(error)) => return Err(format!("cannot be run: {error}")),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "does not run here ({}): {}",
            output.status,
            reason.trim()
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().next().unwrap_or_default();
    first
        .strip_prefix("db version ")
        .map(str::to_owned)
        .ok_or(format!("is no mongod: it says {first:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by another process: while this one held the file open for writing, a child that another test starts in
    /// that moment would hold it too, and the file could not be executed.
    fn program(folder: &Path, script: &str) -> PathBuf {
        let file = folder.join("mongod");
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod +x "$1""#;
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", write, "write"]).arg(&file).arg(script);
        assert!(shell.status().unwrap().success());
        file
    }

    fn none(_: &str) {}

    #[tokio::test]
    async fn the_named_binary_goes_before_the_one_on_path() {
        let (named, path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let script = "echo 'db version v9.9.9'";
        let places = Places {
            named: Some(program(named.path(), script)),
            path: Some(path.path().into()),
            cache: None,
        };
        let on_path = program(path.path(), script);
        assert_eq!(
            find_in(&places, &none).await.unwrap(),
            places.named.clone().unwrap()
        );
        let places = Places {
            named: None,
            ..places
        };
        assert_eq!(find_in(&places, &none).await.unwrap(), on_path);
    }

    #[tokio::test]
    async fn a_named_binary_that_does_not_run_is_an_error_though_another_would() {
        let (named, path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        program(path.path(), "echo 'db version v9.9.9'");
        let file = program(named.path(), "echo libcrypto.so.1.1 is missing >&2; exit 127");
        let places = Places {
            named: Some(file),
            path: Some(path.path().into()),
            cache: None,
        };
        let message = find_in(&places, &none).await.unwrap_err().to_string();
        assert!(message.contains("libcrypto.so.1.1 is missing"), "{message}");
    }

    #[tokio::test]
    async fn the_error_lists_all_that_was_tried_and_what_to_install() {
        let path = tempfile::tempdir().unwrap();
        program(path.path(), "echo something else");
        let places = Places {
            named: None,
            path: Some(path.path().into()),
            cache: None,
        };
        let message = find_in(&places, &none).await.unwrap_err().to_string();
        for part in [
            "TIDEGATE_MONGOD is not set",
            "is no mongod",
            "neither HOME nor XDG_CACHE_HOME",
            "Install",
        ] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }
}
