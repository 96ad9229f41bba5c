//! What no server recognises a second time does not go again once a node may have it: the client is told that nobody knows.

use bson::{Document, doc};

use crate::{
    reads_again::{nodes, proxy},
    support::{
        Client, Proxy,
        client::{is_ok, labels, number},
        relay::{Fate, Point, RelayedSet, Trap},
    },
};

const DB: &str = "unknown_outcome";

/// Multi updates of `collection`, whose second execution would show.
fn multi_updates(collection: &str) -> [Document; 2] {
    let inc =
        |filter: Document, multi: bool| doc! { "q": filter, "u": { "$inc": { "n": 1 } }, "multi": multi };
    let update = |statements: Vec<Document>| doc! { "update": collection, "updates": statements, "writeConcern": { "w": "majority" } };
    [
        update(vec![inc(doc! {}, true)]),
        // One of several statements is enough.
        update(vec![
            inc(doc! { "_id": 0 }, false),
            inc(doc! { "_id": { "$gt": 0 } }, true),
        ]),
    ]
}

/// Lets the next message that names `collection` meet the point, whichever node it goes to; `None` heals.
fn trap(nodes: &RelayedSet, collection: &str, point: Option<Point>) {
    for relay in &nodes.relays {
        relay.set_trap(point.map(|point| Trap::new(point, collection, 1)));
    }
}

fn swallowed(nodes: &RelayedSet, fate: Fate) -> usize {
    let met = nodes.relays.iter().flat_map(|relay| relay.met());
    met.filter(|met| met.fate == fate && met.command == "update")
        .count()
}

async fn seeded(proxy: &Proxy, collection: &str) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.run(DB, doc! { "drop": collection }).await;
    let documents: Vec<_> = (0..3).map(|id| doc! { "_id": id, "n": 0 }).collect();
    let insert = doc! { "insert": collection, "documents": documents, "writeConcern": { "w": "majority" } };
    client.succeed(DB, insert).await;
    client
}

/// How often each document was updated.
async fn applied(client: &mut Client, collection: &str) -> Vec<i64> {
    let find = doc! { "find": collection, "sort": { "_id": 1 }, "readConcern": { "level": "majority" } };
    let found = client.succeed(DB, find).await;
    let batch = found
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap();
    batch
        .iter()
        .map(|one| number(one.as_document().unwrap(), "n").unwrap())
        .collect()
}

#[tokio::test]
async fn a_multi_update_whose_connection_breaks_is_told_as_unknown_and_not_applied_twice() {
    let (nodes, _lent) = nodes().await;
    let proxy = proxy(nodes);
    let table = [
        // The proxy's own machine had taken all of it.
        (Point::BeforeSend, Fate::RequestSwallowed, 0),
        (Point::AfterSend, Fate::ReplySwallowed, 1),
        (Point::MidReply, Fate::ReplySwallowed, 1),
    ];
    for (row, (point, fate, times)) in table.into_iter().enumerate() {
        for which in 0..2 {
            let collection = format!("told_{row}_{which}");
            let mut client = seeded(&proxy, &collection).await;
            let before = swallowed(nodes, fate);
            trap(nodes, &collection, Some(point));
            let [whole, mixed] = multi_updates(&collection);
            let told = client.run(DB, if which == 0 { whole } else { mixed }).await;
            trap(nodes, &collection, None);
            assert_eq!(swallowed(nodes, fate), before + 1, "{point:?}: the cut met it");

            assert!(!is_ok(&told), "{point:?}: {told}");
            assert_eq!(number(&told, "code"), Some(6), "{told}");
            let message = told.get_str("errmsg").unwrap();
            assert!(message.contains("may have been executed"), "{message}");
            // No driver shall send it again for a label.
            assert!(labels(&told).is_empty(), "{told}");
            assert_eq!(applied(&mut client, &collection).await, [times; 3], "{point:?}");
        }
    }
}
