//! What translating legacy opcodes costs: the same read and the same write by OP_MSG and by the opcodes before it, side by side.

use std::fmt::Write as _;

use bson::{Document, doc};

use crate::{
    Outcome,
    load::Measured,
    measure::{Case, Work},
    message::{HEADER, OP_QUERY, document_id, header},
    report::{cell, median},
};

/// `opCode` of `OP_UPDATE`.
const OP_UPDATE: i32 = 2001;
/// Where the documents of an OP_REPLY begin.
const DOCUMENTS: usize = HEADER + 20;
/// The goal: translated operations take at most so many times the CPU time of the others.
const GOAL: f64 = 1.2;

/// A find by `_id` as drivers of old send it.
pub(crate) fn find_request() -> Outcome<Vec<u8>> {
    query("bench.documents", &doc! { "_id": document_id(1) })
}

/// An update and the `getlasterror` that drivers of old send behind it; and where the latter begins.
pub(crate) fn update_request() -> Outcome<(Vec<u8>, usize)> {
    let mut update = Vec::new();
    update.extend_from_slice(&[0; 4]);
    update.extend_from_slice(b"bench.documents\0");
    update.extend_from_slice(&[0; 4]);
    doc! { "_id": document_id(1) }.to_writer(&mut update)?;
    doc! { "$inc": { "count": 1 } }.to_writer(&mut update)?;
    let mut both = header(HEADER + update.len(), OP_UPDATE);
    both.extend_from_slice(&update);
    let question_at = both.len();
    both.extend_from_slice(&query("bench.$cmd", &doc! { "getlasterror": 1 })?);
    Ok((both, question_at))
}

fn query(namespace: &str, document: &Document) -> Outcome<Vec<u8>> {
    let document = document.to_vec()?;
    let mut message = header(HEADER + 4 + namespace.len() + 1 + 8 + document.len(), OP_QUERY);
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(namespace.as_bytes());
    message.push(0);
    message.extend_from_slice(&0i32.to_le_bytes());
    message.extend_from_slice(&(-1i32).to_le_bytes());
    message.extend_from_slice(&document);
    Ok(message)
}

/// True for an OP_REPLY of the one document that was asked for.
pub(crate) fn is_find_reply(reply: &[u8]) -> bool {
    reply.get(HEADER..HEADER + 4) == Some(&8i32.to_le_bytes())
        && reply
            .get(DOCUMENTS + 4..)
            .is_some_and(|document| document.starts_with(b"\x07_id\0"))
}

/// True for a `getlasterror` that tells of an update that met a document.
pub(crate) fn is_update_reply(reply: &[u8]) -> bool {
    let Some(document) = reply.get(DOCUMENTS..) else {
        return false;
    };
    Document::from_reader(document).is_ok_and(|told| {
        told.get("n") == Some(&bson::Bson::Int32(1)) && told.get("err") == Some(&bson::Bson::Null)
    })
}

/// The table in markdown, and the costs in a sentence.
pub(crate) fn summary(cases: &[Case]) -> String {
    let mut out = String::from(
        "| operation | CPU µs/op | sends + receives/op | op/s | p50 µs | p99 µs |\n|---|---:|---:|---:|---:|---:|\n",
    );
    for case in cases {
        let over = |field: fn(&Measured) -> Option<f64>| median(case.runs.iter().filter_map(field).collect());
        let _infallible = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            name(case.doing.work),
            cell(over(Measured::cpu_us_per_op), 2),
            cell(case.calls.as_ref().map(|calls| calls.moving), 2),
            cell(over(|run| Some(run.ops as f64 / run.seconds)), 0),
            cell(over(|run| Some(run.p50_us)), 0),
            cell(over(|run| Some(run.p99_us)), 0),
        );
    }
    for (what, current, old) in [
        ("A read", Work::Find, Work::LegacyFind),
        ("A write", Work::Update, Work::LegacyUpdate),
    ] {
        if let Some(times) = ratio(cases, current, old) {
            let judged = if times <= GOAL { "within" } else { "above" };
            let _infallible = write!(
                out,
                "\n{what} by legacy opcodes takes {times:.2} times the CPU time, {judged} the goal of {GOAL}."
            );
        }
    }
    out
}

fn name(work: Work) -> &'static str {
    match work {
        Work::Find => "`find` by OP_MSG",
        Work::LegacyFind => "OP_QUERY",
        Work::Update => "`update` by OP_MSG",
        Work::LegacyUpdate => "OP_UPDATE and `getlasterror`",
        Work::Text | Work::BigFind => "another",
    }
}

/// How many times the CPU time: the median of what each round found, so that a slow minute of the machine hits both sides.
fn ratio(cases: &[Case], current: Work, old: Work) -> Option<f64> {
    let runs = |work| {
        let case = cases.iter().find(|case| case.doing.work == work);
        case.map(|case| &case.runs)
    };
    let pairs = runs(current)?.iter().zip(runs(old)?);
    median(
        pairs
            .filter_map(|(current, old)| Some(old.cpu_us_per_op()? / current.cpu_us_per_op()?))
            .collect(),
    )
}

/// The page that is kept in the repository.
pub(crate) fn page(cases: &[Case], about: &str) -> String {
    let clients = cases.first().map_or(0, |case| case.clients);
    format!(
        "# What translating legacy opcodes costs\n\n\
         Written by `cargo bench --bench relay -- --legacy`; edits are lost. {about}\n\n\
         {}\n\n\
         {clients} clients, each a socket with one operation outstanding: a find or an update by `_id`. A legacy update is two \
         messages, sent at once, and one reply. A fixed-answer backend replies. Figures are medians over the rounds, the ratios the \
         medians of each round's; see [relay.md](relay.md) for the rest.\n",
        summary(cases)
    )
}
