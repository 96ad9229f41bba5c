//! What the kernel says about a process: CPU time and resident memory (proc(5)).

use std::time::Duration;

use crate::Outcome;

/// `USER_HZ`, the unit of the times in `/proc/PID/stat`: 100 in Linux's ABI on all machines this is built for.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTime {
    /// In its own code.
    pub(crate) user: Duration,
    /// In the kernel on its behalf.
    pub(crate) system: Duration,
}

/// That of all threads of a process, those that have ended included.
pub(crate) fn cpu_time(pid: u32) -> Outcome<CpuTime> {
    let stat = read(pid, "stat")?;
    // The second field is the program's name in parentheses and may hold anything; utime and stime are the 14th
    // and 15th, so the 12th and 13th after it.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    match (times.next(), times.next()) {
        (Some(Ok(user)), Some(Ok(system))) => {
            let time = |ticks: u64| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
            Ok(CpuTime {
                user: time(user),
                system: time(system),
            })
        }
        _ => Err(format!("/proc/{pid}/stat has no CPU times").into()),
    }
}

/// Resident memory in KiB (`VmRSS`).
pub(crate) fn resident_kib(pid: u32) -> Outcome<u64> {
    status_kib(pid, "VmRSS:")
}

/// The most resident memory so far, in KiB (`VmHWM`).
pub(crate) fn peak_kib(pid: u32) -> Outcome<u64> {
    status_kib(pid, "VmHWM:")
}

fn status_kib(pid: u32, field: &str) -> Outcome<u64> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok())
        .ok_or_else(|| format!("/proc/{pid}/status has no {field}").into())
}

/// How many TCP connections to this port of this host are open.
pub(crate) fn connections_to(port: u16) -> Outcome<usize> {
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let to = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        let remote = fields.next()?.rsplit_once(':')?.1;
        // 01 is ESTABLISHED.
        Some(u16::from_str_radix(remote, 16).ok()? == port && fields.next()? == "01")
    };
    Ok(table
        .lines()
        .skip(1)
        .filter(|line| to(line).unwrap_or_default())
        .count())
}

fn read(pid: u32, file: &str) -> Outcome<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path)
        .map_err(|e| format!("cannot read {path}: {e}: has the process ended?").into())
}
