//! Fetches the official tests once: `test/` of PyMongo's source distribution, below `target/test-env`.
//!
//! Invariant: the folder is used only if its marker file exists, which is written last; it is made under a lock that
//! all test processes share.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use super::support::run;

const VERSION: &str = "4.17.0";
const LIMIT: Duration = Duration::from_secs(300);
const MARKER: &str = "complete";
/// Unpacks the folder `test` of an archive (first argument) into a folder (second argument).
const UNPACK: &str = "
import sys, tarfile
with tarfile.open(sys.argv[1]) as archive:
    members = [m for m in archive if m.isfile() and m.name.split('/')[1] == 'test' and '..' not in m.name.split('/')]
    archive.extractall(sys.argv[2], members)
";

/// The folder that holds the folders of the specifications, such as `uri_options`.
pub(crate) fn specification_tests() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(fetched)
}

fn fetched() -> PathBuf {
    // CARGO_TARGET_TMPDIR is `tmp` in the target folder, wherever that is.
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-env");
    let folder = home.join(format!("specification-{VERSION}"));
    fs::create_dir_all(&home).unwrap();
    let lock = File::create(home.join("specification.lock")).unwrap();
    lock.lock().unwrap();
    if !folder.join(MARKER).exists() {
        println!("making {}", folder.display());
        // What a killed process left.
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        fs::create_dir_all(&folder).unwrap();
        fetch_into(&folder);
        fs::write(folder.join(MARKER), "").unwrap();
    }
    folder.join(format!("pymongo-{VERSION}")).join("test")
}

fn fetch_into(folder: &Path) {
    // Of this package alone the source is wanted: what pip needs to read its metadata may come built.
    let mut download = Command::new("python3");
    download
        .args(["-m", "pip", "download", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--no-deps"])
        .args(["--no-binary", "pymongo", "--dest"])
        .arg(folder)
        .arg(format!("pymongo=={VERSION}"));
    step(
        &mut download,
        "fetching the specification tests (prerequisite: python3 with pip, and access to its package index)",
    );
    let archive = folder.join(format!("pymongo-{VERSION}.tar.gz"));
    let mut unpack = Command::new("python3");
    unpack.args(["-c", UNPACK]).arg(&archive).arg(folder);
    step(&mut unpack, "unpacking the specification tests");
    fs::remove_file(archive).unwrap();
}

fn step(command: &mut Command, what: &str) {
    let output = run(command, LIMIT);
    assert!(
        output.status.success(),
        "{what} failed: {}\n{}\n{}",
        output.status,
        output.stdout,
        output.stderr
    );
}
