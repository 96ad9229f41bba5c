//! Finds the configuration: a file, or environment variables alone.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use crate::config::{Loader, Mistakes};

/// The file that is used where none is named.
const DEFAULT_FILE: &str = "proxy.toml";
/// With one of these set, environment variables alone are a configuration.
const ENOUGH: &[&str] = &["TIDEGATE_UPSTREAM__URI", "TIDEGATE_UPSTREAM__URI_FILE"];

/// There is no configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "tidegate: there is no configuration. Name a file with --config FILE or in TIDEGATE_CONFIG, put a proxy.toml into \
     the working directory, or set TIDEGATE_UPSTREAM__URI to run with the defaults and environment variables alone"
)]
pub(super) struct NoConfig;

/// The file to read: the one that was named, else `./proxy.toml`, else none where the environment is enough.
pub(super) fn file(named: Option<PathBuf>) -> Result<Option<PathBuf>, NoConfig> {
    let is_set = |name: &&str| std::env::var_os(OsStr::new(name)).is_some();
    choose(
        named,
        Path::new(DEFAULT_FILE).is_file(),
        ENOUGH.iter().any(is_set),
    )
}

fn choose(
    named: Option<PathBuf>,
    default_exists: bool,
    environment_is_enough: bool,
) -> Result<Option<PathBuf>, NoConfig> {
    match named {
        Some(file) => Ok(Some(file)),
        None if default_exists => Ok(Some(DEFAULT_FILE.into())),
        None if environment_is_enough => Ok(None),
        None => Err(NoConfig),
    }
}

/// The settings of this file, if any, and of the environment.
pub(super) fn loader(file: Option<&Path>) -> Result<Loader, Mistakes> {
    let loader = match file {
        Some(file) => Loader::new().file(file)?,
        None => Loader::new(),
    };
    Ok(loader.variables(std::env::vars_os()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_wins_then_the_default_file_then_the_environment() {
        let named = || Some(PathBuf::from("a.toml"));
        assert_eq!(choose(named(), true, true), Ok(named()));
        assert_eq!(choose(None, true, true), Ok(Some(DEFAULT_FILE.into())));
        assert_eq!(choose(None, false, true), Ok(None));
        let error = choose(None, false, false).unwrap_err().to_string();
        for way in [
            "--config",
            "TIDEGATE_CONFIG",
            "proxy.toml",
            "TIDEGATE_UPSTREAM__URI",
        ] {
            assert!(error.contains(way), "{error}");
        }
    }
}
