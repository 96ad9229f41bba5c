//! The traffic that a profile is made of: ways of speaking, each for a moment, so that what serves them is laid out and inlined as
//! what is used. What is in none of them is taken for rare and built to be small: cursors, transactions, elections, reloads.
//!
//! A backend with fixed answers suffices, so that a program can be built where there is no `mongod`. It has neither TLS nor
//! compression: the program's own side towards nodes that do is trained in front of another Tidegate.

use std::path::Path;

use rustix::thread::CpuSet;

use crate::certificates::Authority;
use crate::children::{ANY_CORE, Core};
use crate::idle::{self, Read};
use crate::load::Measured;
use crate::measure::{Cores, Doing, Work, start_load};
use crate::peers::{Peer, Started, Tidegate};
use crate::target::Target;
use crate::transport::{COMPRESSORS, users_file};
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
    name: String,
    peer: Tidegate,
    /// Another Tidegate, which is the node.
    node: Option<Tidegate>,
    doing: Doing,
    clients: usize,
    /// Whether it may use all cores, and thus threads.
    is_free: bool,
}

/// Has `binary` serve each way of speaking for so many milliseconds, and end by itself, as a program that counts must.
pub(crate) fn train(binary: &Path, milliseconds: u64) -> Outcome<()> {
    let folder = results::folder()?;
    let authority = Authority::in_folder(folder.path().to_owned());
    let users = folder.path().join("users.toml");
    users_file(&users)?;
    let cores = cores()?;
    if cores.is_one() {
        eprintln!("there is one core only: what several threads do is taken for rare");
    }
    let target = Target::fixed(cores.other, 0)?;
    let tidegate = Tidegate::new(binary);
    for lesson in lessons(&tidegate, &authority, &users) {
        eprintln!("training: {}", lesson.name);
        teach(&lesson, cores, &target, folder.path(), milliseconds)
            .map_err(|error| format!("training, {}: {error}", lesson.name))?;
    }
    eprintln!("training: large documents");
    let started = Peer::Tidegate(tidegate).start(cores.proxy, &target, READERS, folder.path())?;
    read(&started, cores.other)
        .and_then(|()| started.end())
        .map_err(|error| format!("training, large documents: {error}").into())
}

/// The first and the last core that there is: unlike a measurement, a build does not choose its machine.
pub(crate) fn cores() -> Outcome<Cores> {
    let allowed = rustix::thread::sched_getaffinity(None)
        .map_err(|error| format!("cannot ask which cores may be used: {error}"))?;
    let mut cores = (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .map(Core);
    let first = cores.next().ok_or("no core may be used")?;
    Ok(Cores {
        proxy: first,
        other: cores.next_back().unwrap_or(first),
    })
}

fn lessons(tidegate: &Tidegate, authority: &Authority, users: &Path) -> Vec<Lesson> {
    let lesson = |name: &str, doing: Doing| Lesson {
        name: name.to_owned(),
        peer: tidegate.clone(),
        node: None,
        doing,
        clients: CLIENTS,
        is_free: false,
    };
    let find = || Doing::from(Work::Find);
    let secure = tidegate.clone().with_tls(authority);
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
        Lesson {
            peer: secure.clone(),
            ..lesson(
                "finds over TLS",
                Doing {
                    tls: Some(authority.ca()),
                    ..find()
                },
            )
        },
        Lesson {
            peer: tidegate.clone().with_tls_upstream(authority),
            node: Some(secure),
            ..lesson("finds from a node with TLS", find())
        },
    ];
    for compressor in COMPRESSORS {
        let name = compressor.name();
        let at_the_client = Doing {
            compressor: Some(compressor),
            ..Work::Text.into()
        };
        lessons.push(lesson(&format!("{name} at the client"), at_the_client));
        lessons.push(Lesson {
            peer: tidegate.clone().with_option("compressors", name),
            node: Some(tidegate.clone()),
            ..lesson(&format!("{name} from a node"), Work::Text.into())
        });
    }
    lessons
}

fn teach(lesson: &Lesson, cores: Cores, target: &Target, folder: &Path, milliseconds: u64) -> Outcome<()> {
    let start = |tidegate: &Tidegate, core, target: &Target| {
        Peer::Tidegate(tidegate.clone()).start(core, target, lesson.clients, folder)
    };
    let node = match &lesson.node {
        Some(node) => Some(start(node, cores.other, target)?),
        None => None,
    };
    let behind = node.as_ref().map(|node| Target::mongos(node.port));
    let core = if lesson.is_free { ANY_CORE } else { cores.proxy };
    let started = start(&lesson.peer, core, behind.as_ref().unwrap_or(target))?;
    load(lesson, &started, cores.other, milliseconds)?;
    started.end()?;
    node.map_or(Ok(()), Started::end)
}

fn load(lesson: &Lesson, started: &Started, core: Core, milliseconds: u64) -> Outcome<()> {
    let milliseconds = milliseconds.to_string();
    let more = ["--window-ms", &milliseconds];
    let mut load = start_load(core, &lesson.doing, lesson.clients, started, &more)?;
    load.tell("go")?;
    let measured: Measured = serde_json::from_str(&load.line()?)?;
    if measured.ops == 0 {
        return Err(format!("nothing was answered in {milliseconds} ms").into());
    }
    Ok(())
}

fn read(started: &Started, core: Core) -> Outcome<()> {
    let mut load = idle::start_slow(core, started.port, READERS, RATE, &[])?;
    let read: Read = serde_json::from_str(&load.line()?)?;
    if read.whole != READERS {
        return Err(format!("{} of {READERS} large documents came whole", read.whole).into());
    }
    Ok(())
}
