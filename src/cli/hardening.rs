//! Keeps the memory of the process, where clients' keys lie, from others.
//!
//! A process that is not dumpable leaves no core dump, and no other process may attach to it or read its memory, environment or open
//! files by `/proc`, but those with `CAP_SYS_PTRACE` (prctl(2), ptrace(2)). Debuggers need root for it, therefore, and a crash
//! leaves the log alone.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Makes this process one that is not dumpable, for ever.
///
/// # Errors
/// When the system refuses one of the two; the other holds all the same.
pub(super) fn keep_memory_private() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // The limit holds even where dumps are piped to a program that would be asked for a process that is not dumpable.
    let limited = setrlimit(Resource::Core, none);
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(limited?)
}
