//! The Python, Node, Rust and Go environments, pinned where it is ours to choose, made once below `target/test-env`.
//!
//! Invariant: an environment is used only if its marker file exists, which is written last, and is made under a lock
//! that all test processes share. Its folder's name holds a digest of what it is made from.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use super::run::{Output, run};

const REQUIREMENTS: &str = include_str!("python/requirements.txt");
const PACKAGE: &str = include_str!("node/package.json");
const PACKAGE_LOCK: &str = include_str!("node/package-lock.json");
const CLIENTS_PACKAGE: &str = include_str!("../clients/node/package.json");
const CLIENTS_PACKAGE_LOCK: &str = include_str!("../clients/node/package-lock.json");
/// Older ones cannot load the modules that the pinned mongosh is made of.
pub(super) const OLDEST_NODE: (u32, u32) = (20, 19);
const OLDEST_PYTHON: (u32, u32) = (3, 9);
const STEP_LIMIT: Duration = Duration::from_secs(600);
const MARKER: &str = "complete";

/// The interpreter of an environment with the pinned PyMongo.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| python_with(REQUIREMENTS))
}

/// The interpreter of an environment with these packages, in pip's notation.
pub(crate) fn python_with(requirements: &str) -> PathBuf {
    let version = version("python3", OLDEST_PYTHON, "python3, python3-venv and python3-pip");
    let make = |folder: &Path| make_python(folder, requirements);
    environment("python", &[requirements, &version], make).join("bin/python")
}

/// The pinned `mongosh`.
pub(crate) fn mongosh() -> &'static Path {
    static MONGOSH: OnceLock<PathBuf> = OnceLock::new();
    MONGOSH.get_or_init(|| {
        version("node", OLDEST_NODE, "nodejs and npm");
        // The optional packages are native add-ons for logins that no test uses; their install scripts download.
        let make = |folder: &Path| make_node(folder, PACKAGE, PACKAGE_LOCK, &["--omit=optional"]);
        environment("node", &[PACKAGE, PACKAGE_LOCK], make).join("node_modules/.bin/mongosh")
    })
}

/// The folder of the pinned Node drivers, for `NODE_PATH`.
pub(crate) fn node_modules() -> &'static Path {
    static MODULES: OnceLock<PathBuf> = OnceLock::new();
    MODULES.get_or_init(|| {
        version("node", OLDEST_NODE, "nodejs and npm");
        // Snappy comes as an optional package, one for each platform.
        let make = |folder: &Path| make_node(folder, CLIENTS_PACKAGE, CLIENTS_PACKAGE_LOCK, &[]);
        let made_from = [CLIENTS_PACKAGE, CLIENTS_PACKAGE_LOCK];
        environment("node-clients", &made_from, make).join("node_modules")
    })
}

/// The program of the official Rust driver, a crate of its own: the driver shall not be built with the proxy's tests.
pub(crate) fn rust_client() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/rust");
        let folder = home().join("rust-client");
        // Cargo itself knows what has to be built anew, and keeps others waiting meanwhile.
        let mut cargo = Command::new(env!("CARGO"));
        // What it tells this test of the proxy's package; build scripts there would take it for a change.
        let told = std::env::vars_os().map(|(name, _)| name);
        for name in told.filter(|name| is_of_a_package(&name.to_string_lossy())) {
            cargo.env_remove(name);
        }
        step(
            cargo
                .args(["build", "--locked", "--quiet", "--manifest-path"])
                .arg(crate_folder.join("Cargo.toml"))
                .arg("--target-dir")
                .arg(&folder),
            "building the program of the Rust driver (prerequisites: a C compiler, and cargo with access to its registry)",
        );
        folder.join("debug/tidegate-test-client")
    })
}

fn is_of_a_package(variable: &str) -> bool {
    ["CARGO_MANIFEST_", "CARGO_PKG_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
}

/// The program of the official Go driver, built with Debian's packages of the compiler and the driver: the newest that the
/// package registries of a build machine have.
pub(crate) fn go_client() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        const LIBRARIES: &str = "/usr/share/gocode";
        const INSTALL: &str = "Debian: apt-get install golang-go golang-mongodb-mongo-driver-dev";
        let driver = Path::new(LIBRARIES).join("src/go.mongodb.org/mongo-driver");
        assert!(
            driver.exists(),
            "the tests need the Go driver in {LIBRARIES} ({INSTALL})"
        );
        let home = home();
        let program = home.join("go-client/driver");
        fs::create_dir_all(&home).unwrap();
        let lock = File::create(home.join("go-client.lock")).unwrap();
        lock.lock().unwrap();
        step(
            Command::new("go")
                .args(["build", "-o"])
                .arg(&program)
                .arg(".")
                .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/go"))
                .env("GO111MODULE", "off")
                .env("GOPATH", LIBRARIES)
                .env("GOFLAGS", "")
                .env("GOCACHE", home.join("go-cache")),
            &format!("building the program of the Go driver ({INSTALL})"),
        );
        program
    })
}

fn make_python(folder: &Path, requirements: &str) {
    step(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(folder),
        "making a Python environment (prerequisites: python3 with venv and ensurepip; Debian: apt-get install \
         python3-venv)",
    );
    let file = folder.join("requirements.txt");
    fs::write(&file, requirements).unwrap();
    step(
        Command::new(folder.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-input",
                "--disable-pip-version-check",
                "--no-deps",
            ])
            .arg("--requirement")
            .arg(&file),
        "installing the pinned Python packages (prerequisite: pip with access to its package index)",
    );
}

pub(super) fn make_node(folder: &Path, package: &str, lock: &str, options: &[&str]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("package.json"), package).unwrap();
    fs::write(folder.join("package-lock.json"), lock).unwrap();
    step(
        Command::new("npm")
            .args([
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--no-update-notifier",
            ])
            .args(options)
            .current_dir(folder),
        "installing the pinned Node packages (prerequisite: npm with access to its registry; Debian: apt-get \
         install npm)",
    );
}

pub(crate) fn environment(kind: &str, made_from: &[&str], make: impl FnOnce(&Path)) -> PathBuf {
    let home = home();
    let name = format!("{kind}-{:016x}", digest(made_from));
    let folder = home.join(&name);
    let marker = folder.join(MARKER);
    fs::create_dir_all(&home).unwrap();
    let lock = File::create(home.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !marker.exists() {
        println!("making {}", folder.display());
        // What a killed process left.
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        make(&folder);
        fs::write(&marker, "").unwrap();
    }
    folder
}

pub(super) fn home() -> PathBuf {
    // CARGO_TARGET_TMPDIR is `tmp` in the target folder, wherever that is.
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-env")
}

/// Panics with what is missing if `program` is not there or too old; otherwise its version.
pub(super) fn version(program: &str, oldest: (u32, u32), install: &str) -> String {
    let wanted = format!(
        "the tests need {program} {}.{} or newer (Debian: {install})",
        oldest.0, oldest.1
    );
    let output = match Command::new(program).arg("--version").output() {
        Ok(output) if output.status.success() => output,
        Ok(output) => panic!(
            "{wanted}; `{program} --version` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("{wanted}; it cannot be run: {error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    assert!(found >= oldest, "{wanted}; found {text}");
    text
}

pub(crate) fn step(command: &mut Command, what: &str) {
    let program = command.get_program().to_owned();
    assert!(
        Path::new(&program).is_absolute() || Command::new(&program).arg("--version").output().is_ok(),
        "{what}: {} is not installed",
        program.display()
    );
    let Output {
        status,
        stdout,
        stderr,
    } = run(command, STEP_LIMIT);
    assert!(status.success(), "{what} failed: {status}\n{stdout}\n{stderr}");
}

/// FNV-1a, which unlike the standard library's hasher stays the same from one toolchain to the next.
fn digest(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
