//! Child processes that are pinned to a core and can't outlive the benchmark.
//!
//! A child is started through this program's own `spawn` subcommand, which sets its affinity and its
//! parent-death signal and then becomes the wanted program by exec(2): the pid stays, no `unsafe` hook runs between
//! fork and exec, and even a killed benchmark leaves nothing behind. The parent-death signal belongs to the thread
//! that forked, so all children are started from the main thread.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, setrlimit};
use rustix::thread::CpuSet;

use crate::Outcome;

/// A core by its number as sched_setaffinity(2) counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Core(pub(crate) usize);

/// Wherever the scheduler puts it.
pub(crate) const ANY_CORE: Core = Core(usize::MAX);

/// Becomes `program`, pinned to `core`. Returns only the error that kept it from that.
pub(crate) fn become_pinned(core: Core, parent: u32, program: &OsStr, arguments: &[OsString]) -> Outcome<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have ended before the signal was set.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get() as u32);
    if now != Some(parent) {
        return Err("the benchmark has ended".into());
    }
    pin_self(core)?;
    raise_file_limit();
    let error = Command::new(program).args(arguments).exec();
    Err(format!("cannot run {}: {error}", program.display()).into())
}

/// Pins this thread, and what it starts, to `core`.
pub(crate) fn pin_self(core: Core) -> Outcome<()> {
    let mut set = CpuSet::new();
    if core == ANY_CORE {
        // Those that there are not do no harm.
        (0..CpuSet::MAX_CPU).for_each(|core| set.set(core));
    } else {
        set.set(core.0);
    }
    rustix::thread::sched_setaffinity(None, &set).map_err(|e| format!("cannot pin to {core:?}: {e}").into())
}

/// Lets this process have as many sockets as the system gives it: 5,000 clients are 10,000 to a proxy without a pool.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    // Where that is refused, the sockets that are lacking say so.
    setrlimit(Resource::Nofile, all).ok();
}

/// A running child; killed when dropped.
pub(crate) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts `program` on `core`, with pipes to its stdin and stdout. Its stderr is this process's, unless `log`
    /// names a file for it.
    pub(crate) fn start(
        core: Core,
        program: &OsStr,
        arguments: &[&OsStr],
        log: Option<std::fs::File>,
    ) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("spawn")
            .arg(core.0.to_string())
            .arg(std::process::id().to_string());
        command.arg("--").arg(program).args(arguments);
        // A program that counts for a profile writes to where it was built for.
        command.env_remove("LLVM_PROFILE_FILE");
        command.stdin(Stdio::piped());
        match log {
            Some(file) => command.stdout(file.try_clone()?).stderr(file),
            None => command.stdout(Stdio::piped()),
        };
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child, input, output })
    }

    /// Starts this program's own `subcommand` on `core`.
    pub(crate) fn start_own(core: Core, arguments: &[&str]) -> Outcome<Self> {
        let own = std::env::current_exe()?;
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        Self::start(core, own.as_os_str(), &arguments, None)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of the child's output.
    pub(crate) fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if let Some(output) = &mut self.output {
            output.read_line(&mut line)?;
        }
        if line.is_empty() {
            return Err("a part of the benchmark ended early; its error is above".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Sends the child a line.
    pub(crate) fn tell(&mut self, line: &str) -> Outcome<()> {
        match &mut self.input {
            Some(input) => Ok(writeln!(input, "{line}")?),
            None => Err("the child's input is closed".into()),
        }
    }

    /// Says whether the child still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the child to end by SIGINT and waits for it; kills it after five seconds. Returns how it ended.
    pub(crate) fn interrupt(mut self) -> Outcome<ExitStatus> {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            rustix::process::kill_process(pid, Signal::INT)?;
        }
        wait_until(Duration::from_secs(5), "a child to end", || Ok(!self.is_alive()))?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when the child was waited for already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A port on 127.0.0.1 that nothing listens on.
pub(crate) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until something accepts connections on `port`.
pub(crate) fn wait_listening(port: u16, running: &mut Running, name: &str) -> Outcome<()> {
    wait_until(Duration::from_secs(10), &format!("{name} to listen"), || {
        if !running.is_alive() {
            return Err(format!("{name} ended at its start").into());
        }
        Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
    })
}

/// Asks `condition` every 5 ms until it holds.
pub(crate) fn wait_until(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Outcome<bool>,
) -> Outcome<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > limit {
            return Err(format!("waited {limit:?} for {what} in vain").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
