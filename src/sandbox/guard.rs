//! A child that cleans up after its owner, however the owner ends.
//!
//! Invariant: every process started by [`Guard::spawn`] has told the guard its own pid *before* it becomes the program
//! asked for, so no end of the owner, not even SIGKILL between two instructions, can leave it running. The guard reads
//! a pipe that only its owner holds open; end of file there means that the owner is gone. Drop of a static never
//! happens in Rust, so this is also what ends the processes that tests share.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::Write,
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Mutex,
};

use super::Error;

/// Temporary folders are removed only if their name starts so, and [`MARKER`] lies within.
pub(crate) const FOLDER_PREFIX: &str = "tidegate-sandbox-";
const MARKER: &str = ".tidegate-sandbox";

/// Arguments: the folder to remove (or nothing), and the seconds between SIGTERM and SIGKILL (0: SIGKILL at once).
/// Input: lines `+PID` and `-PID`. SIGCONT goes along because a stopped process cannot obey SIGTERM.
const GUARD_SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT
pids=' '
while read -r line; do
  pid=${line#?}
  case $line in
    +*) pids="$pids$pid " ;;
    -*) case $pids in *" $pid "*) pids="${pids%% "$pid" *} ${pids#* "$pid" }" ;; esac ;;
  esac
done
alive() { for p in $pids; do kill -0 "$p" && return 0; done; return 1; }
if [ "$2" -gt 0 ]; then
  for p in $pids; do kill -TERM "$p"; kill -CONT "$p"; done
  tries=$(($2 * 10))
  while alive && [ "$tries" -gt 0 ]; do sleep 0.1; tries=$((tries - 1)); done
fi
for p in $pids; do kill -KILL "$p"; done
tries=100
while alive && [ "$tries" -gt 0 ]; do sleep 0.05; tries=$((tries - 1)); done
case $1 in
  */tidegate-sandbox-*) if [ -e "$1/.tidegate-sandbox" ]; then rm -rf -- "$1"; fi ;;
esac
"#;

/// Its standard output is the guard's pipe until `exec` puts the log there: `$1` is the log, the rest the program.
const SPAWN_SCRIPT: &str = r#"echo "+$$"; log=$1; shift; exec "$@" >>"$log" 2>&1"#;

/// Ends the processes of its owner, and removes the owner's temporary folder, when the owner is gone.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    /// `None` once the guard is being dropped.
    pipe: Mutex<Option<ChildStdin>>,
}

impl Guard {
    /// Starts a guard that kills at once and then removes `folder`, which [`temporary_folder`] must have made.
    ///
    /// # Errors
    /// [`Error::Io`] when `/bin/sh` cannot be started.
    pub fn for_temporary(folder: &Path) -> Result<Self, Error> {
        Self::start(Some(folder), 0)
    }

    /// Starts a guard that removes nothing, and gives processes `grace_seconds` after SIGTERM.
    ///
    /// # Errors
    /// [`Error::Io`] when `/bin/sh` cannot be started.
    pub fn for_kept(grace_seconds: u32) -> Result<Self, Error> {
        Self::start(None, grace_seconds)
    }

    fn start(folder: Option<&Path>, grace_seconds: u32) -> Result<Self, Error> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", GUARD_SCRIPT, "tidegate-guard"])
            .arg(folder.unwrap_or(Path::new("")))
            .arg(grace_seconds.to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in the terminal reaches the owner alone, who then ends everything in order.
            .process_group(0)
            .spawn()
            .map_err(Error::io("starting the guard with /bin/sh"))?;
        let pipe = Mutex::new(child.stdin.take());
        Ok(Self { child, pipe })
    }

    /// Starts `program` in a process group of its own, with its output appended to `log`.
    ///
    /// # Errors
    /// [`Error::Io`] when `/bin/sh` cannot be started. A program that cannot be executed ends with status 126 or 127,
    /// and the log says why.
    pub fn spawn(&self, program: &Path, arguments: &[OsString], log: &Path) -> Result<Child, Error> {
        let pipe = self.clone_pipe().map_err(Error::io("sharing the guard's pipe"))?;
        Command::new("/bin/sh")
            .args(["-c", SPAWN_SCRIPT, "tidegate-spawn"])
            .arg(log)
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(pipe)
            .stderr(open_log(log)?)
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("starting {}", program.display())))
    }

    /// Kills `child` with SIGKILL and reaps it. Returns when it is gone.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system refuses.
    pub fn kill(&self, child: &mut Child) -> Result<(), Error> {
        let what = format!("killing process {}", child.id());
        child.kill().map_err(Error::io(what.clone()))?;
        self.forget(child.id());
        child.wait().map(drop).map_err(Error::io(what))
    }

    /// Takes a process off the guard's list: once reaped, its pid may be another's.
    pub fn forget(&self, pid: u32) {
        if let Some(pipe) = self.pipe.lock().unwrap_or_else(|e| e.into_inner()).as_mut() {
            // A guard that someone killed has nothing to forget.
            let _ = writeln!(pipe, "-{pid}");
        }
    }

    fn clone_pipe(&self) -> std::io::Result<Stdio> {
        let pipe = self.pipe.lock().unwrap_or_else(|e| e.into_inner());
        let pipe = pipe
            .as_ref()
            .ok_or_else(|| std::io::Error::other("the guard is gone"))?;
        Ok(Stdio::from(pipe.as_fd().try_clone_to_owned()?))
    }
}

impl Drop for Guard {
    /// Ends what was spawned and not reaped, and waits until that is done.
    fn drop(&mut self) {
        drop(self.pipe.get_mut().unwrap_or_else(|e| e.into_inner()).take());
        let _ = self.child.wait();
    }
}

fn open_log(log: &Path) -> Result<fs::File, Error> {
    let what = format!("opening {}", log.display());
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .map_err(Error::io(what))
}

/// Makes a folder in the system's temporary folder that a [`Guard`] is willing to remove.
///
/// # Errors
/// [`Error::Io`] when it cannot be made.
pub fn temporary_folder() -> Result<PathBuf, Error> {
    let folder = tempfile::Builder::new()
        .prefix(FOLDER_PREFIX)
        .tempdir()
        .map_err(Error::io("making a temporary folder"))?;
    let marker = folder.path().join(MARKER);
    fs::write(&marker, "").map_err(Error::io(format!("writing {}", marker.display())))?;
    Ok(folder.keep())
}
