//! Several proxies on one replica set, and a proxy that restarts: what one began another goes on with.

use std::{fs, thread, time::Duration};

use bson::{Binary, Bson, Document, doc, spec::BinarySubtype};

use crate::support::{
    Client, Proxy,
    client::{batch, eventually, is_ok, number},
    run_python, shared_proxy, shared_set,
};

const DB: &str = "fleet";
const CURSOR_NOT_FOUND: Option<i64> = Some(43);

/// A client of the shared proxy, and one of another on the same set.
struct Fleet {
    here: Client,
    there: Client,
    _other: Proxy,
}

async fn fleet() -> Fleet {
    let other = Proxy::start(&shared_set().uri(), "");
    Fleet {
        here: Client::connect(shared_proxy().address).await,
        there: Client::connect(other.address).await,
        _other: other,
    }
}

/// A collection of the documents 0 to 9, on all nodes.
async fn ten(client: &mut Client, name: &str) {
    let documents: Vec<_> = (0..10).map(|id| doc! { "_id": id }).collect();
    let insert = doc! { "insert": name, "documents": documents, "writeConcern": { "w": 3 } };
    client.succeed(DB, insert).await;
}

fn ids(documents: &[Document]) -> Vec<i64> {
    documents.iter().map(|d| number(d, "_id").unwrap()).collect()
}

/// The read preference of the node with this `role`, see the shared set.
fn on(role: &str, mut command: Document) -> Document {
    let tags = vec![doc! { "role": role }];
    command.insert("$readPreference", doc! { "mode": "nearest", "tags": tags });
    command
}

/// Opens a cursor of two documents' batches on the node with this role.
async fn open(client: &mut Client, collection: &str, role: &str) -> i64 {
    let find = doc! { "find": collection, "batchSize": 2, "sort": { "_id": 1 } };
    let (documents, cursor) = batch(&client.succeed(DB, on(role, find)).await);
    assert_eq!(ids(&documents), [0, 1]);
    assert_ne!(cursor, 0);
    cursor
}

fn get_more(cursor: i64, collection: &str) -> Document {
    doc! { "getMore": cursor, "collection": collection, "batchSize": 100 }
}

#[tokio::test]
async fn a_cursor_goes_on_through_another_proxy_whichever_node_holds_it() {
    let Fleet {
        mut here,
        mut there,
        _other,
    } = fleet().await;
    ten(&mut here, "goes_on").await;
    for role in ["a", "b", "c"] {
        let cursor = open(&mut here, "goes_on", role).await;
        let (rest, end) = batch(&there.succeed(DB, get_more(cursor, "goes_on")).await);
        assert_eq!(
            (ids(&rest), end),
            ((2..10).collect(), 0),
            "on the node with role {role}"
        );
        let gone = here.run(DB, get_more(cursor, "goes_on")).await;
        assert_eq!(number(&gone, "code"), CURSOR_NOT_FOUND, "{gone}");
    }
}

#[tokio::test]
async fn cursors_of_other_commands_go_on_through_another_proxy_too() {
    let Fleet {
        mut here,
        mut there,
        _other,
    } = fleet().await;
    for name in ["x", "y", "z"] {
        here.succeed("fleet_listing", doc! { "create": name }).await;
    }
    let list = doc! { "listCollections": 1, "cursor": { "batchSize": 1 } };
    let (mut listed, cursor) = batch(&here.succeed("fleet_listing", list).await);
    let more = get_more(cursor, "$cmd.listCollections");
    let (rest, end) = batch(&there.succeed("fleet_listing", more).await);
    listed.extend(rest);
    assert_eq!((listed.len(), end), (3, 0));

    // On `admin`, where `$currentOp` lists at least the monitors of the two proxies.
    let operations = doc! {
        "aggregate": 1,
        "pipeline": [{ "$currentOp": { "idleConnections": true } }],
        "cursor": { "batchSize": 1 },
    };
    let (first, cursor) = batch(&here.succeed("admin", operations).await);
    assert_eq!(first.len(), 1);
    let more = get_more(cursor, "$cmd.aggregate");
    let (rest, _) = batch(&there.succeed("admin", more).await);
    assert!(rest.len() > 1, "{rest:?}");
}

#[tokio::test]
async fn a_change_stream_goes_on_through_another_proxy() {
    let Fleet {
        mut here,
        mut there,
        _other,
    } = fleet().await;
    here.succeed(DB, doc! { "create": "watched" }).await;
    let watch = doc! { "aggregate": "watched", "pipeline": [{ "$changeStream": {} }], "cursor": {} };
    let (nothing, cursor) = batch(&here.succeed(DB, watch).await);
    assert_eq!(nothing.len(), 0);
    for id in 0..3 {
        let insert =
            doc! { "insert": "watched", "documents": [{ "_id": id }], "writeConcern": { "w": "majority" } };
        here.succeed(DB, insert).await;
        let client = if id % 2 == 0 { &mut there } else { &mut here };
        let more = doc! { "getMore": cursor, "collection": "watched", "maxTimeMS": 20_000 };
        let (events, same) = batch(&client.succeed(DB, more).await);
        assert_eq!(same, cursor);
        assert_eq!(events.len(), 1);
        assert_eq!(
            events[0].get_document("documentKey").unwrap(),
            &doc! { "_id": id }
        );
    }
    let kill = doc! { "killCursors": "watched", "cursors": [cursor] };
    there.succeed(DB, kill).await;
}

#[tokio::test]
async fn one_kill_cursors_reaches_cursors_of_all_nodes_and_of_other_proxies() {
    let Fleet {
        mut here,
        mut there,
        _other,
    } = fleet().await;
    ten(&mut here, "killed").await;
    let mut cursors = Vec::new();
    for role in ["a", "b", "c"] {
        cursors.push(open(&mut here, "killed", role).await);
        cursors.push(open(&mut there, "killed", role).await);
    }
    let unknown = 4711_i64;
    let mut all = cursors.clone();
    all.push(unknown);
    let reply = there
        .succeed(DB, doc! { "killCursors": "killed", "cursors": &all })
        .await;
    let listed = |key| -> Vec<i64> {
        let ids = reply.get_array(key).unwrap().iter();
        ids.map(|id| id.as_i64().unwrap()).collect()
    };
    let mut killed = listed("cursorsKilled");
    killed.sort_unstable();
    let mut expected = cursors.clone();
    expected.sort_unstable();
    assert_eq!(killed, expected);
    assert_eq!(listed("cursorsNotFound"), [unknown]);
    assert_eq!(
        (listed("cursorsAlive"), listed("cursorsUnknown")),
        (vec![], vec![])
    );
    for cursor in all {
        for client in [&mut here, &mut there] {
            let reply = client.run(DB, get_more(cursor, "killed")).await;
            assert_eq!(number(&reply, "code"), CURSOR_NOT_FOUND, "{reply}");
            assert_eq!(reply.get_str("codeName").unwrap(), "CursorNotFound");
        }
    }
}

/// A session id.
fn session() -> Document {
    let bytes = (0..16).map(|_| fastrand::u8(..)).collect();
    doc! { "id": Binary { subtype: BinarySubtype::Uuid, bytes } }
}

#[tokio::test]
async fn kill_sessions_ends_the_cursors_of_a_session_on_every_node() {
    let Fleet {
        mut here,
        mut there,
        _other,
    } = fleet().await;
    ten(&mut here, "sessions").await;
    let (killed, kept) = (session(), session());
    let mut cursors = Vec::new();
    for lsid in [&killed, &kept] {
        for role in ["a", "b", "c"] {
            let find = doc! { "find": "sessions", "batchSize": 2, "lsid": lsid.clone() };
            let (_, cursor) = batch(&here.succeed(DB, on(role, find)).await);
            cursors.push((lsid, cursor));
        }
    }
    there
        .succeed("admin", doc! { "killSessions": [killed.clone()] })
        .await;
    for (lsid, cursor) in cursors {
        let mut more = get_more(cursor, "sessions");
        more.insert("lsid", lsid.clone());
        let reply = here.run(DB, more).await;
        assert_eq!(is_ok(&reply), *lsid == kept, "{reply}");
    }
}

#[tokio::test]
async fn end_sessions_through_one_proxy_ends_a_session_that_was_used_through_another() {
    let Fleet {
        mut here,
        mut there,
        _other,
    } = fleet().await;
    let lsid = session();
    // A write without a number would go out under a session of the proxy's own.
    let find = doc! { "find": "ended", "lsid": lsid.clone() };
    here.succeed(DB, find).await;
    let count = async |client: &mut Client| -> i64 {
        // A test command: otherwise a node writes its sessions down every five minutes.
        client
            .succeed("admin", doc! { "refreshLogicalSessionCacheNow": 1 })
            .await;
        let find = doc! { "find": "system.sessions", "filter": { "_id.id": lsid.get("id").cloned() } };
        let (found, _) = batch(&client.succeed("config", find).await);
        found.len() as i64
    };
    assert_eq!(count(&mut here).await, 1, "the session is known to the set");
    let ended = vec![Bson::Document(lsid.clone())];
    there.succeed("admin", doc! { "endSessions": ended }).await;
    eventually("the session is forgotten", Duration::from_secs(20), async || {
        count(&mut here).await == 0
    })
    .await;
}

#[test]
fn a_driver_finds_a_restarted_proxy_again() {
    let set = shared_set();
    let first = Proxy::start(&set.uri(), "");
    let (uri, address, admin) = (first.uri(), first.address, first.admin);
    let signs = tempfile::tempdir().unwrap();
    let sign = |name: &str| signs.path().join(name);
    let folder = signs.path().to_str().unwrap().to_owned();
    let script = thread::spawn(move || run_python("python/fleet/reconnect.py", &[&uri, &folder]));
    let wait = |name: &str| {
        for _ in 0..3000 {
            if sign(name).exists() || script.is_finished() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the script did not come to {name:?}");
    };
    wait("working");
    let (status, log) = first.stop();
    assert!(status.success(), "{status}\n{log}");
    let second = Proxy::start_at(&set.uri(), address, admin);
    fs::write(sign("restarted"), "").unwrap();
    let seen = script.join().unwrap();
    println!("{seen}");
    assert_eq!(seen["lost"], 0, "acknowledged writes are there: {seen}");
    assert!(seen["after"].as_u64().unwrap() >= 20, "{seen}");
    assert!(second.status()["clients"]["accepted"].as_u64().unwrap() > 0);
}
