//! What the pure parts of a command's way take: no sockets, no clock, only bytes and decisions.
//!
//! `cargo bench --bench pure [-- NAME]`. Each figure is of one call. What they add up to is less than a microsecond of the
//! ten to fifty that relaying a command takes (`cargo bench --bench relay`); they are for seeing what a change of one of them does.

#![allow(
    clippy::unwrap_used,
    reason = "the messages are this program's own, and valid"
)]

mod messages;

use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, doc, oid::ObjectId};
use divan::{Bencher, black_box};
use tidegate::{
    command::{Reply, Request, legacy::find, number, retryable, rewrite},
    routing::decide,
    topology::{
        Address, Criteria, Mode, ReadPreference, SelectionOptions, ServerDescription, Topology,
        TopologyOptions, select,
    },
    wire::{Frame, HEADER_LEN, Header, MAX_MESSAGE_LEN, legacy::Query, op_msg::Layout},
};

fn main() {
    divan::main();
}

#[divan::bench]
fn header(bencher: Bencher<'_, '_>) {
    let frame = messages::find();
    bencher.bench_local(|| Header::peek(black_box(frame.bytes()), MAX_MESSAGE_LEN));
}

#[divan::bench]
fn layout(bencher: Bencher<'_, '_>) {
    let frame = messages::find();
    bencher.bench_local(|| Layout::parse(black_box(frame.bytes())));
}

/// A request by its name.
type Named = (&'static str, fn() -> Frame);

/// The requests that are peeked and classified.
const REQUESTS: [Named; 4] = [
    ("find", messages::find),
    ("find, nearest", messages::find_nearest),
    ("update", messages::update),
    ("aggregate", messages::aggregate),
];

fn request_named(name: &str) -> (Frame, Layout) {
    let (_, make) = REQUESTS.iter().find(|(known, _)| *known == name).unwrap();
    let frame = make();
    let layout = Layout::parse(frame.bytes()).unwrap();
    (frame, layout)
}

fn names() -> impl Iterator<Item = &'static str> {
    REQUESTS.iter().map(|(name, _)| *name)
}

#[divan::bench(args = names())]
fn peek_request(bencher: Bencher<'_, '_>, name: &str) {
    let (frame, layout) = request_named(name);
    bencher.bench_local(|| Request::peek(black_box(frame.bytes()), layout));
}

/// Where it goes; of a write also whether it may go twice.
#[divan::bench(args = names())]
fn classify(bencher: Bencher<'_, '_>, name: &str) {
    let (frame, layout) = request_named(name);
    let request = Request::peek(frame.bytes(), layout).unwrap();
    let default = ReadPreference::default();
    bencher.bench_local(|| {
        let route = decide(black_box(&request), frame.bytes(), &default, 17);
        (route, retryable::shape(frame.bytes(), &request))
    });
}

#[divan::bench(args = [1, 100])]
fn peek_reply(bencher: Bencher<'_, '_>, documents: usize) {
    let frame = messages::reply(documents);
    bencher.bench_local(|| {
        let layout = Layout::parse(black_box(frame.bytes()))?;
        Reply::peek(layout.body(frame.bytes())?)
    });
}

/// A write gets a session and number of the proxy's.
#[divan::bench]
fn splice_number(bencher: Bencher<'_, '_>) {
    let (frame, layout) = request_named("update");
    let request = Request::peek(frame.bytes(), layout).unwrap();
    bencher
        .with_inputs(|| (messages::copy(&frame), request.clone()))
        .bench_local_values(|(mut frame, mut request)| {
            assert!(number::put(&mut frame, &mut request, &[9; 16], 42));
            frame
        });
}

/// A read gets the read preference without which a secondary refuses it.
#[divan::bench]
fn splice_read_preference(bencher: Bencher<'_, '_>) {
    let (frame, layout) = request_named("find");
    let request = Request::peek(frame.bytes(), layout).unwrap();
    bencher
        .with_inputs(|| (messages::copy(&frame), request.clone()))
        .bench_local_values(|(mut frame, mut request)| {
            rewrite::append_read_preference(&mut frame, &mut request, None).unwrap();
            frame
        });
}

#[divan::bench(args = [Mode::Primary, Mode::SecondaryPreferred, Mode::Nearest])]
fn select_server(bencher: Bencher<'_, '_>, mode: Mode) {
    let topology = three_nodes();
    let preference = ReadPreference {
        mode,
        ..ReadPreference::default()
    };
    let criteria = match mode {
        Mode::Primary => Criteria::Primary,
        _ => Criteria::Read(&preference),
    };
    let options = SelectionOptions {
        local_threshold: Duration::from_millis(15),
        heartbeat: Duration::from_secs(10),
    };
    bencher.bench_local(|| {
        select(
            black_box(&topology),
            &criteria,
            &options,
            |_| 1,
            |below| below - 1,
        )
    });
}

/// An OP_QUERY becomes a find.
#[divan::bench]
fn translate_legacy_find(bencher: Bencher<'_, '_>) {
    let payload = messages::legacy_find();
    bencher.bench_local(|| {
        let query = Query::parse(black_box(&payload)).unwrap();
        find::command(&query).unwrap().frame
    });
}

/// Copying the message, which the splices work on: what is to be taken off their figures if all of it counts.
#[divan::bench]
fn copy_message(bencher: Bencher<'_, '_>) {
    let frame = messages::find();
    bencher.bench_local(|| messages::copy(black_box(&frame)).bytes().len() - HEADER_LEN);
}

/// A primary and two secondaries, all equally near.
fn three_nodes() -> Topology {
    let hosts = ["a:27017", "b:27017", "c:27017"];
    let mut topology = Topology::new(TopologyOptions {
        seeds: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        set_name: Some("rs".to_owned()),
        ..TopologyOptions::default()
    });
    for (number, host) in hosts.into_iter().enumerate() {
        let address: Address = host.parse().unwrap();
        let mut reply = doc! {
            "ok": 1, "minWireVersion": 0, "maxWireVersion": 17, "setName": "rs", "me": host, "hosts": hosts.to_vec(),
            "setVersion": 1, "secondary": number > 0, "isWritablePrimary": number == 0,
        };
        if number == 0 {
            reply.insert("electionId", ObjectId::from_bytes([1; 12]));
        }
        let reply = RawDocumentBuf::try_from(&reply).unwrap();
        let rtt = Some(Duration::from_millis(1));
        let _ = topology.apply(ServerDescription::from_hello(
            address,
            &reply,
            Instant::now(),
            rtt,
        ));
    }
    topology
}
