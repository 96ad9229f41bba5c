//! The traffic that a profile is made of: each way of speaking for a moment, so that what serves it is laid out and inlined as what
//! is used, and nothing that clients do is taken for rare.
//!
//! A backend with fixed answers suffices, so that a program can be built where there is no `mongod`.

use std::path::Path;

use rustix::thread::CpuSet;

use crate::certificates::Authority;
use crate::children::{ANY_CORE, Core, Running};
use crate::idle::Read;
use crate::measure::{Cores, Doing, Work, ready, start_load};
use crate::peers::{Peer, Started, Tidegate};
use crate::target::Target;
use crate::transport::{Compressor, users_file};
use crate::{Outcome, results};

/// As many as there are connections: none waits for one.
const CLIENTS: usize = 64;
/// More than there are connections, so that most wait for one.
const WAITING: usize = 500;
/// Those who read a large document, and bytes per second to each.
const READERS: usize = 8;
const RATE: usize = 64 << 20;

/// A way of speaking.
struct Lesson {
    name: &'static str,
    peer: Tidegate,
    doing: Doing,
    clients: usize,
    /// Whether it may use all cores, and thus threads.
    is_free: bool,
}

/// The first and the last core that there is: unlike a measurement, a build does not choose its machine.
fn cores() -> Outcome<Cores> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .map(Core);
    let first = cores.next().ok_or("no core may be used")?;
    Ok(Cores {
        proxy: first,
        other: cores.next_back().unwrap_or(first),
    })
}

/// Has `binary` serve each way of speaking for so many milliseconds, and end by itself, as a profiled program must.
pub(crate) fn train(binary: &Path, milliseconds: u64) -> Outcome<()> {
    let folder = results::folder()?;
    let authority = Authority::in_folder(folder.path().to_owned());
    let users = folder.path().join("users.toml");
    users_file(&users)?;
    let cores = cores()?;
    let target = Target::fixed(cores.other, 0)?;
    for lesson in lessons(&Tidegate::new(binary), &authority, &users) {
        let peer = Peer::Tidegate(lesson.peer.clone());
        let teach = || {
            let core = if lesson.is_free { ANY_CORE } else { cores.proxy };
            let started = peer.start(core, &target, lesson.clients, folder.path())?;
            load(&lesson, &started, cores.other, milliseconds)?;
            started.end()
        };
        eprintln!("training: {}", lesson.name);
        teach().map_err(|error| format!("training, {}: {error}", lesson.name))?;
    }
    eprintln!("training: large documents");
    let peer = Peer::Tidegate(Tidegate::new(binary));
    let started = peer.start(cores.proxy, &target, READERS, folder.path())?;
    read(&started, cores.other)?;
    started.end()
}

fn lessons(tidegate: &Tidegate, authority: &Authority, users: &Path) -> Vec<Lesson> {
    let lesson = |name, doing: Doing| Lesson {
        name,
        peer: tidegate.clone(),
        doing,
        clients: CLIENTS,
        is_free: false,
    };
    let find = || Work::Find.into();
    let mut lessons = vec![
        Lesson {
            clients: 1,
            ..lesson("one client", find())
        },
        lesson("finds", find()),
        Lesson {
            clients: WAITING,
            ..lesson("finds that wait for a connection", find())
        },
        Lesson {
            clients: WAITING,
            is_free: true,
            ..lesson("finds on all cores", find())
        },
        lesson("updates", Work::Update.into()),
        lesson("legacy finds", Work::LegacyFind.into()),
        lesson("legacy updates", Work::LegacyUpdate.into()),
        Lesson {
            peer: tidegate.clone().with_tls(authority),
            ..lesson(
                "finds over TLS",
                Doing {
                    tls: Some(authority.ca()),
                    ..find()
                },
            )
        },
        Lesson {
            peer: Tidegate {
                sections: format!(
                    "[auth]\nsource = \"file\"\nusers_file = \"{}\"\n",
                    users.display()
                ),
                ..tidegate.clone()
            },
            ..lesson(
                "finds of users",
                Doing {
                    login: true,
                    ..find()
                },
            )
        },
    ];
    for (name, compressor) in [
        ("snappy", Compressor::Snappy),
        ("zlib", Compressor::Zlib),
        ("zstd", Compressor::Zstd),
    ] {
        let doing = Doing {
            compressor: Some(compressor),
            ..Work::Text.into()
        };
        lessons.push(lesson(name, doing));
    }
    lessons
}

fn load(lesson: &Lesson, started: &Started, core: Core, milliseconds: u64) -> Outcome<()> {
    let milliseconds = milliseconds.to_string();
    let more = ["--window-ms", &milliseconds];
    let mut load = start_load(core, &lesson.doing, lesson.clients, started, &more)?;
    load.tell("go")?;
    load.line()?;
    Ok(())
}

fn read(started: &Started, core: Core) -> Outcome<()> {
    let [port, clients, rate] = [started.port.to_string(), READERS.to_string(), RATE.to_string()];
    let arguments = ["slow", "--clients", &clients, "--port", &port, "--rate", &rate];
    let mut load = ready(Running::start_own(core, &arguments)?)?;
    load.tell("go")?;
    let read: Read = serde_json::from_str(&load.line()?)?;
    if read.whole != READERS {
        return Err(format!("{} of {READERS} large documents came whole", read.whole).into());
    }
    Ok(())
}
