//! What each way of speaking costs over the plain one: logins, TLS, compression, legacy opcodes, the injected session.
//!
//! Each is held against a case of the same run that differs in that alone, on a real node that demands logins and has TLS.

use std::fmt::Write as _;
use std::process::ExitCode;

use bson::doc;
use serde_json::json;
use tidegate::sandbox::Options;

use crate::certificates::Authority;
use crate::goals::{self, Goal};
use crate::load::Measured;
use crate::measure::{Case, Doing, OTHER_CORE, Work, measure};
use crate::peers::{Peer, Tidegate};
use crate::report::{cell, over, ratio};
use crate::target::Target;
use crate::transport::{COMPRESSORS, Compressor, PASSWORD, USER};
use crate::{Cli, Outcome, results};

const CLIENTS: usize = 64;
/// What is passed on as it came costs less than what is compressed anew for it. Compressing is the proxy's own work, so its own time is
/// judged: the kernel's share grows where fewer commands come at once, as they do from a node that compresses, too.
const PASSED_ON: f64 = 1.0;

/// A way of speaking, and the name of the one that it is held against.
struct Way {
    against: &'static str,
    doing: Doing,
    peer: Tidegate,
}

/// Measures all of them.
pub(crate) fn run(cli: &Cli) -> Outcome<ExitCode> {
    let folder = results::folder()?;
    let authority = Authority::in_folder(folder.path().to_owned());
    let ways = ways(&Tidegate::new(&cli.binary()?), &authority);
    let case = |way: &Way| Case::new(&Peer::Tidegate(way.peer.clone()), way.doing.clone(), CLIENTS);
    let plan = cli.plan(ways.iter().map(case).collect());
    let about = cli.about(&plan)?;
    let target = node(&authority)?;
    let cases = measure(plan, &target, folder.path())?;
    let named = |name: &str| cases.iter().find(|case| case.peer.name() == name);
    let against: Vec<Option<&Case>> = ways.iter().map(|way| named(way.against)).collect();
    let goals: Vec<Goal> = COMPRESSORS
        .into_iter()
        .map(|compressor| {
            let pair = named(&both(compressor)).zip(named(&one(compressor)));
            let of = pair.and_then(|(both, one)| ratio(both, one, Measured::user_us_per_op));
            let what = format!(
                "{} on both sides: CPU in the proxy's own code per operation, of that on one side",
                compressor.name()
            );
            Goal::most(what, of, PASSED_ON)
        })
        .collect();
    let table = table(&cases, &against);
    println!("{table}\n{}", goals::table(&goals));
    let rows = cases
        .iter()
        .map(|case| json!({ "path": case.peer.name(), "rounds": case.runs }));
    let rows: Vec<_> = rows.collect();
    results::write_json("paths", &json!({ "about": about, "goals": goals, "cases": rows }))?;
    if cli.is_kept() {
        results::keep_page("paths", &page(&table, &goals, &about))?;
    }
    Ok(cli.judge(&goals))
}

const PLAIN: &str = "find";
const TEXT: &str = "find of 4 KiB";
const WRITE: &str = "update without exactly_once";

fn one(compressor: Compressor) -> String {
    format!("{TEXT}, {} at the client", compressor.name())
}

fn both(compressor: Compressor) -> String {
    format!("{TEXT}, {} on both sides", compressor.name())
}

fn ways(tidegate: &Tidegate, authority: &Authority) -> Vec<Way> {
    let with_login = Tidegate {
        user: format!("{USER}:{}@", PASSWORD.replace(' ', "%20")),
        options: "&authSource=admin".to_owned(),
        ..tidegate.clone()
    };
    let without_login = "[auth]\nsource = \"none\"\nserve_without_login = true\n";
    let plain = Tidegate {
        sections: without_login.to_owned(),
        ..with_login.clone()
    };
    let way = |peer: &Tidegate, name: &str, against, doing: Doing| Way {
        against,
        doing,
        peer: peer.clone().named(name),
    };
    let tls = |work: Work| Doing {
        tls: Some(authority.ca()),
        ..work.into()
    };
    let secure = plain.clone().with_tls(authority);
    let both_secure = secure.clone().with_tls_upstream(authority);
    let login = Doing {
        login: true,
        ..Work::Find.into()
    };
    let off = Tidegate {
        sections: format!("{without_login}[failover]\nexactly_once = \"off\"\n"),
        ..plain.clone()
    };
    let mut ways = vec![
        way(&plain, PLAIN, PLAIN, Work::Find.into()),
        way(&with_login, "find, logged in", PLAIN, login),
        way(&secure, "find, TLS at the client", PLAIN, tls(Work::Find)),
        way(&both_secure, "find, TLS on both sides", PLAIN, tls(Work::Find)),
        way(&plain, "find by OP_QUERY", PLAIN, Work::LegacyFind.into()),
        way(&off, WRITE, WRITE, Work::Update.into()),
        way(
            &plain,
            "update with the injected session",
            WRITE,
            Work::Update.into(),
        ),
        way(
            &plain,
            "OP_UPDATE and getlasterror",
            WRITE,
            Work::LegacyUpdate.into(),
        ),
        way(&plain, TEXT, TEXT, Work::Text.into()),
    ];
    for compressor in COMPRESSORS {
        let compressed = Doing {
            compressor: Some(compressor),
            ..Work::Text.into()
        };
        let upstream = plain.clone().with_option("compressors", compressor.name());
        ways.push(way(&plain, &one(compressor), TEXT, compressed.clone()));
        ways.push(way(&upstream, &both(compressor), TEXT, compressed));
    }
    ways
}

/// A node that demands logins and speaks TLS with those who wish.
fn node(authority: &Authority) -> Outcome<Target> {
    let [server, ca] = [authority.server(), authority.ca()].map(|path| path.display().to_string());
    let arguments = [
        "--tlsMode",
        "allowTLS",
        "--tlsCertificateKeyFile",
        &server,
        "--tlsCAFile",
        &ca,
        "--tlsAllowConnectionsWithoutCertificates",
    ];
    let target = Target::set(
        OTHER_CORE,
        Options {
            nodes: 1,
            authentication: true,
            mongod_arguments: arguments.map(str::to_owned).into(),
            ..Options::default()
        },
    )?;
    target.command(doc! { "createUser": USER, "pwd": PASSWORD, "roles": ["root"] })?;
    Ok(target)
}

fn table(cases: &[Case], against: &[Option<&Case>]) -> String {
    let mut out = String::from(
        "| path | CPU µs/op | of it in its own code | times | of | op/s | p50 µs | p99 µs |\n\
         |---|---:|---:|---:|---|---:|---:|---:|\n",
    );
    for (case, against) in cases.iter().zip(against) {
        let times = against.and_then(|against| ratio(case, against, Measured::cpu_us_per_op));
        let name = against.map_or("-", |against| against.peer.name());
        let _infallible = writeln!(
            out,
            "| {} | {} | {} | {} | {name} | {} | {} | {} |",
            case.peer.name(),
            cell(over(case, Measured::cpu_us_per_op), 1),
            cell(over(case, Measured::user_us_per_op), 1),
            cell(times, 2),
            cell(over(case, Measured::ops_per_second), 0),
            cell(over(case, |run| Some(run.p50_us)), 0),
            cell(over(case, |run| Some(run.p99_us)), 0),
        );
    }
    out
}

fn page(table: &str, goals: &[Goal], about: &str) -> String {
    format!(
        "# What each way of speaking costs\n\n\
         Written by `cargo bench --bench relay -- --paths`; edits are lost. {about}\n\n\
         {table}\n{}\n\
         {CLIENTS} clients, each a socket with one operation outstanding, through Tidegate with one thread and a pool of {CLIENTS}, to a \
         real node that demands logins; where nothing else is said, clients need not log in and speak plain OP_MSG, and so does Tidegate \
         to the node. The node and the load share a core, which limits op/s; CPU is that of the proxy alone. Figures are medians over the \
         rounds, and \"times\" is the median of each round's ratio. An OP_UPDATE is two messages, sent at once, and one reply. \
         A message whose compressor both sides speak need not be compressed anew, so it must not take the proxy's own code longer than one \
         that comes compressed and goes out plain. The kernel's share is not judged by that: a node that compresses, too, answers fewer \
         commands in a second, so fewer share a wake-up.\n",
        goals::table(goals)
    )
}
