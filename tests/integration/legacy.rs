//! Legacy opcodes beyond what a comparison with an old server shows: write concerns, the gate, unknown outcomes, and what operators are
//! told of who uses them.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use bson::{Bson, Document, doc};
use serde_json::json;

use crate::{
    gate::post,
    reads_again::{nodes, proxy},
    support::{
        Client, Proxy,
        client::number,
        legacy_client::{
            CONTINUE_ON_ERROR, EXHAUST, LegacyClient, OP_DELETE, OP_INSERT, OP_QUERY, OP_UPDATE, Query,
            SLAVE_OK, delete, insert, is_closed, update,
        },
        raw::frame,
        relay::{Point, Trap},
        shared_set,
    },
};

const DB: &str = "legacy_opcodes";
const SOON: Duration = Duration::from_secs(20);

fn ns(collection: &str) -> String {
    format!("{DB}.{collection}")
}

fn connect(proxy: &Proxy) -> LegacyClient {
    LegacyClient::connect(proxy.address).unwrap()
}

fn last_error(client: &mut LegacyClient, fields: Document) -> Document {
    let mut command = doc! { "getlasterror": 1 };
    command.extend(fields);
    client.command(DB, command).unwrap()
}

fn count(client: &mut LegacyClient, collection: &str) -> i64 {
    number(&client.command(DB, doc! { "count": collection }).unwrap(), "n").unwrap()
}

fn find_all(collection: &str, flags: i32) -> Query {
    Query {
        flags,
        namespace: ns(collection),
        skip: 0,
        to_return: 0,
        query: doc! { "$query": {}, "$orderby": { "_id": 1 } },
        fields: None,
    }
}

#[test]
fn a_write_concern_is_waited_for_whether_it_came_with_the_write_or_after_it() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut client = connect(&proxy);
    let waited = || proxy.metric("tidegate_last_errors_waited_total");
    let everyone = doc! { "w": 3, "wtimeout": 20_000 };
    // Asked later: the write had no more than its node.
    client
        .send(OP_INSERT, &insert(0, &ns("concern"), &[doc! { "a": 1 }]))
        .unwrap();
    thread::sleep(Duration::from_millis(100));
    let told = last_error(&mut client, everyone.clone());
    assert_eq!(
        (told.get("err"), number(&told, "ok")),
        (Some(&Bson::Null), Some(1))
    );
    assert_eq!(waited(), 1.0);
    // Sent along with the next, because it was asked for last, and with one that is asked about at once.
    client
        .send(OP_UPDATE, &update(0, &ns("concern"), &doc! {}, &doc! { "a": 2 }))
        .unwrap();
    let told = last_error(&mut client, everyone.clone());
    assert_eq!(told.get_bool("updatedExisting").ok(), Some(true), "{told}");
    let mut other = connect(&proxy);
    let mut question = doc! { "getlasterror": 1 };
    question.extend(everyone.clone());
    let both = [
        frame(1, OP_DELETE, &delete(0, &ns("concern"), &doc! {})),
        frame(2, OP_QUERY, &Query::command(DB, question).payload()),
    ];
    other.send_raw(&both.concat()).unwrap();
    let told = other.receive().unwrap().documents.remove(0);
    assert_eq!(number(&told, "n"), Some(1), "{told}");
    assert_eq!(waited(), 1.0, "neither had to be waited for again");
    // What takes no updates.
    let series = doc! { "create": "series", "timeseries": { "timeField": "at" } };
    client.command(DB, doc! { "drop": "series" }).unwrap();
    client.command(DB, series).unwrap();
    let measured = doc! { "at": bson::DateTime::now() };
    client
        .send(OP_INSERT, &insert(0, &ns("series"), &[measured]))
        .unwrap();
    thread::sleep(Duration::from_millis(100));
    let told = last_error(&mut client, doc! { "w": 2, "wtimeout": 20_000 });
    assert_eq!(
        (told.get("err"), number(&told, "ok")),
        (Some(&Bson::Null), Some(1)),
        "{told}"
    );
    assert_eq!(waited(), 2.0);
    // What nobody can have.
    let told = last_error(&mut client, doc! { "w": 50 });
    assert_eq!((number(&told, "ok"), number(&told, "code")), (Some(0), Some(100)));
    let told = last_error(&mut client, doc! { "w": "nowhere" });
    assert_eq!((number(&told, "ok"), number(&told, "code")), (Some(0), Some(79)));
    proxy.stop();
}

#[test]
fn more_documents_than_a_command_takes_are_inserted_and_exhausted_in_order() {
    const MANY: i32 = 100_001;
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut client = connect(&proxy);
    client.command(DB, doc! { "drop": "many" }).unwrap();
    let documents: Vec<_> = (0..MANY).map(|id| doc! { "_id": id }).collect();
    client
        .send(OP_INSERT, &insert(0, &ns("many"), &documents))
        .unwrap();
    assert_eq!(last_error(&mut client, doc! {}).get("err"), Some(&Bson::Null));
    assert_eq!(count(&mut client, "many"), i64::from(MANY));

    let request = client
        .send(OP_QUERY, &find_all("many", EXHAUST).payload())
        .unwrap();
    let (mut before, mut next) = (request, 0);
    loop {
        let reply = client.receive().unwrap();
        assert_eq!((reply.response_to, reply.starting_from), (before, next));
        for document in &reply.documents {
            assert_eq!(number(document, "_id"), Some(i64::from(next)));
            next += 1;
        }
        before = reply.request_id;
        if reply.cursor == 0 {
            break;
        }
    }
    assert_eq!(next, MANY);
    proxy.stop();
}

#[test]
fn a_remove_of_many_whose_connection_breaks_is_told_as_unknown_and_not_done_twice() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (nodes, _lent) = runtime.block_on(nodes());
    let proxy = proxy(nodes);
    let mut client = connect(&proxy);
    for (point, left) in [(Point::BeforeSend, 3), (Point::AfterSend, 0)] {
        let collection = format!("removed_{left}");
        client.command(DB, doc! { "drop": &collection }).unwrap();
        let documents: Vec<_> = (0..3).map(|id| doc! { "_id": id }).collect();
        client
            .send(OP_INSERT, &insert(0, &ns(&collection), &documents))
            .unwrap();
        assert_eq!(
            last_error(&mut client, doc! { "w": "majority" }).get("err"),
            Some(&Bson::Null)
        );
        for relay in &nodes.relays {
            relay.set_trap(Some(Trap::new(point, &collection, 1)));
        }
        client
            .send(OP_DELETE, &delete(0, &ns(&collection), &doc! {}))
            .unwrap();
        let told = last_error(&mut client, doc! { "w": "majority" });
        for relay in &nodes.relays {
            relay.set_trap(None);
        }
        assert_eq!(number(&told, "code"), Some(6), "{point:?}: {told}");
        let message = told.get_str("err").unwrap();
        assert!(message.contains("may have been executed"), "{message}");
        assert_eq!(count(&mut client, &collection), left, "{point:?}");
    }
    proxy.stop();
}

#[test]
fn writes_wait_at_the_gate_and_are_done_though_their_client_is_gone() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut client = connect(&proxy);
    client.command(DB, doc! { "drop": "held" }).unwrap();
    assert_eq!(post(proxy.admin, "/pause", "").0, 200);
    let mut leaving = connect(&proxy);
    for id in 0..3 {
        leaving
            .send(OP_INSERT, &insert(0, &ns("held"), &[doc! { "_id": id }]))
            .unwrap();
    }
    drop(leaving);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(post(proxy.admin, "/resume", "").0, 200);
    let deadline = Instant::now() + SOON;
    while count(&mut client, "held") < 3 {
        assert!(Instant::now() < deadline, "{}", count(&mut client, "held"));
        thread::sleep(Duration::from_millis(20));
    }
    proxy.stop();
}

#[test]
fn operators_are_told_once_who_uses_which_opcodes() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut named = connect(&proxy);
    let metadata = doc! {
        "driver": { "name": "ancient", "version": "0.9" }, "os": { "type": "any" },
        "application": { "name": "ledger" },
    };
    named
        .command("admin", doc! { "isMaster": 1, "client": metadata })
        .unwrap();
    assert_eq!(
        proxy.status()["clients"]["legacy"],
        json!([]),
        "a greeting by OP_QUERY is usual"
    );
    for _ in 0..2 {
        named
            .send(OP_INSERT, &insert(0, &ns("seen"), &[doc! {}]))
            .unwrap();
        last_error(&mut named, doc! {});
    }
    let mut nameless = connect(&proxy);
    nameless.ask(OP_QUERY, &find_all("seen", 0).payload()).unwrap();
    let mut seen = proxy.status()["clients"]["legacy"].clone();
    for client in seen.as_array_mut().unwrap() {
        client.as_object_mut().unwrap().remove("last_seconds_ago");
    }
    let expected = json!([
        {
            "application": null, "driver": null, "version": null, "address": "127.0.0.1",
            "opcodes": ["OP_QUERY"], "connections": 1,
        },
        {
            "application": "ledger", "driver": "ancient", "version": "0.9", "address": null,
            "opcodes": ["OP_QUERY", "OP_INSERT"], "connections": 1,
        },
    ]);
    assert_eq!(seen, expected);
    assert_eq!(proxy.metric("tidegate_legacy_inserts_total"), 2.0);
    let (_, log) = proxy.stop();
    let lines = log.lines().filter(|line| line.contains("uses legacy opcodes"));
    assert_eq!(lines.count(), 2, "{log}");
}

#[test]
fn a_listener_may_refuse_them_and_cap_its_wire_version() {
    let listener = "legacy = \"refuse\"\nmax_wire_version = 3";
    let proxy = Proxy::start_with(&shared_set().uri(), "", listener, "");
    let mut client = connect(&proxy);
    let hello = client.command("admin", doc! { "isMaster": 1 }).unwrap();
    assert_eq!(
        (number(&hello, "minWireVersion"), number(&hello, "maxWireVersion")),
        (Some(0), Some(3))
    );
    let refused = client.command(DB, doc! { "count": "c" }).unwrap();
    assert_eq!(number(&refused, "code"), Some(352), "{refused}");
    let refused = client.ask(OP_QUERY, &find_all("c", 0).payload()).unwrap();
    assert_eq!(refused.flags & 2, 2, "{refused:?}");
    assert_eq!(
        number(&refused.documents[0], "code"),
        Some(5_739_101),
        "{refused:?}"
    );
    client
        .send(OP_INSERT, &insert(0, &ns("refused"), &[doc! {}]))
        .unwrap();
    assert!(client.receive().is_err_and(|error| is_closed(&error)));
    // Who speaks OP_MSG is served all the same.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(proxy.address).await;
        client.succeed(DB, doc! { "count": "c" }).await;
    });
    proxy.stop();
}

#[test]
fn a_secondarys_address_says_not_master_in_the_words_that_old_drivers_know() {
    let second = tidegate::sandbox::free_ports(1).unwrap()[0];
    let listener = format!("presents_as = \"replica_set\"\nsecondary_address = \"127.0.0.1:{second}\"");
    let proxy = Proxy::start_with(&shared_set().uri(), "", &listener, "");
    let address = ([127, 0, 0, 1], second).into();
    let mut client = LegacyClient::connect(address).unwrap();
    client
        .send(OP_INSERT, &insert(0, &ns("secondary"), &[doc! {}]))
        .unwrap();
    let told = last_error(&mut client, doc! {});
    assert_eq!(number(&told, "code"), Some(10107), "{told}");
    assert!(told.get_str("err").unwrap().starts_with("not master"), "{told}");
    let served = client
        .ask(OP_QUERY, &find_all("secondary", SLAVE_OK).payload())
        .unwrap();
    assert_eq!(served.flags & 2, 0, "{served:?}");
    proxy.stop();
}

#[test]
fn a_write_is_done_whatever_is_asked_of_it_afterwards() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut client = connect(&proxy);
    client.command(DB, doc! { "drop": "beyond" }).unwrap();
    let unreadable = [
        doc! { "w": 51 },
        doc! { "w": 1_i64 << 33 },
        doc! { "w": 1, "wtimeout": 1_i64 << 33 },
        doc! { "w": "majority", "wtimeout": 1_i64 << 33 },
    ];
    for (number_of, fields) in unreadable.iter().enumerate() {
        let mut question = doc! { "getlasterror": 1 };
        question.extend(fields.clone());
        let both = [
            frame(1, OP_INSERT, &insert(0, &ns("beyond"), &[doc! {}])),
            frame(2, OP_QUERY, &Query::command(DB, question).payload()),
        ];
        client.send_raw(&both.concat()).unwrap();
        let told = client.receive().unwrap().documents.remove(0);
        let expected = if number_of < 2 {
            (Some(0), Some(100))
        } else {
            (Some(1), None)
        };
        assert_eq!((number(&told, "ok"), number(&told, "code")), expected, "{told}");
        // Nobody asks about the next; it has what was asked last.
        client
            .send(OP_INSERT, &insert(0, &ns("beyond"), &[doc! {}]))
            .unwrap();
    }
    assert_eq!(count(&mut client, "beyond"), 8);
    proxy.stop();
}

#[test]
fn that_the_last_part_of_an_insert_goes_well_hides_no_failure_of_another() {
    const MANY: i32 = 100_001;
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut client = connect(&proxy);
    client.command(DB, doc! { "drop": "parts" }).unwrap();
    let mut documents: Vec<_> = (0..MANY).map(|id| doc! { "_id": id }).collect();
    documents[1] = doc! { "_id": 0 };
    client
        .send(OP_INSERT, &insert(CONTINUE_ON_ERROR, &ns("parts"), &documents))
        .unwrap();
    let told = last_error(&mut client, doc! {});
    assert_eq!(number(&told, "code"), Some(11000), "{told}");
    assert_eq!(count(&mut client, "parts"), i64::from(MANY) - 1);
    proxy.stop();
}

#[test]
fn what_is_nested_beyond_all_measure_is_refused_and_harms_nobody() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut deep = vec![5, 0, 0, 0, 0];
    for _ in 0..20_000 {
        let mut outer = ((deep.len() + 8) as i32).to_le_bytes().to_vec();
        outer.extend(b"\x03a\0");
        outer.extend(&deep);
        outer.push(0);
        deep = outer;
    }
    // A document with `name: 1` and the deep one behind.
    let command = |name: &str| {
        let mut elements = doc! { name: "c" }.to_vec().unwrap().split_off(4);
        elements.pop();
        elements.extend(b"\x03query\0");
        elements.extend(&deep);
        elements.push(0);
        [&((elements.len() + 4) as i32).to_le_bytes()[..], &elements].concat()
    };
    let query = |namespace: &str, document: &[u8]| {
        let head = [&[0; 4][..], namespace.as_bytes(), &[0; 5], &(-1i32).to_le_bytes()].concat();
        frame(1, OP_QUERY, &[&head[..], document].concat())
    };
    let mut messages = vec![query(&ns("system.indexes"), &deep), query(&ns("c"), &deep)];
    for name in [
        "createIndexes",
        "mapReduce",
        "group",
        "geoNear",
        "count",
        "killCursors",
        "getlasterror",
    ] {
        messages.push(query(&ns("$cmd"), &command(name)));
    }
    messages.push(frame(
        1,
        OP_INSERT,
        &[&[0; 4][..], ns("system.indexes").as_bytes(), &[0], &deep].concat(),
    ));
    for message in messages {
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        stream.write_all(&message).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // Answered, or closed; and everybody else is served. An echo of what is so deep would be too much for the test, too.
        stream.read_to_end(&mut Vec::new()).unwrap();
        connect(&proxy).command("admin", doc! { "ping": 1 }).unwrap();
    }
    proxy.stop();
}

#[test]
fn many_exhausted_cursors_share_little_room() {
    let proxy = Proxy::start(&shared_set().uri(), "[limits]\nbuffer_bytes = \"128MiB\"");
    let mut client = connect(&proxy);
    client.command(DB, doc! { "drop": "room" }).unwrap();
    let padding = "x".repeat(1 << 20);
    let documents: Vec<_> = (0..40)
        .map(|id| doc! { "_id": id, "padding": &padding })
        .collect();
    client
        .send(OP_INSERT, &insert(0, &ns("room"), &documents))
        .unwrap();
    assert_eq!(last_error(&mut client, doc! {}).get("err"), Some(&Bson::Null));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = connect(&proxy);
                client
                    .send(OP_QUERY, &find_all("room", EXHAUST).payload())
                    .unwrap();
                let mut count = 0;
                loop {
                    let reply = client.receive().unwrap();
                    count += reply.documents.len();
                    if reply.cursor == 0 {
                        break;
                    }
                }
                assert_eq!(count, 40);
            });
        }
    });
    client.command(DB, doc! { "drop": "room" }).unwrap();
    proxy.stop();
}
