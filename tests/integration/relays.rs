//! The relay by which other tests break connections does what it says, and no more.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use tokio::time::timeout;

use crate::support::{
    raw::{Raw, body_section, msg},
    relay::{Fate, Held, Point, Relay, Towards, Trap, Weather},
    shared_set,
};

/// Long enough for a reply on a busy machine, short enough to wait for in vain.
const SOON: Duration = Duration::from_millis(400);
const DATABASE: &str = "relays";

async fn relay() -> Relay {
    let primary = shared_set().primary().await.unwrap();
    Relay::start(shared_set().address(primary), "", 7)
}

async fn through(relay: &Relay) -> Raw {
    Raw::connect(relay.address().to_string()).await.unwrap()
}

fn insert(collection: &str, id: i32) -> Document {
    doc! { "insert": collection, "documents": [{ "_id": id }], "$db": DATABASE }
}

/// How many documents a collection has, asked past all traps.
async fn count(raw: &mut Raw, collection: &str) -> i32 {
    let count = doc! { "count": collection, "$db": DATABASE };
    raw.command(&count).await.unwrap().body.get_i32("n").unwrap()
}

async fn drop_collection(raw: &mut Raw, collection: &str) {
    raw.command(&doc! { "drop": collection, "$db": DATABASE })
        .await
        .unwrap();
}

#[tokio::test]
async fn messages_are_cut_where_the_trap_says_and_only_those_that_it_names() {
    let relay = relay().await;
    let table = [
        (Point::BeforeSend, Fate::RequestSwallowed, 0),
        (Point::AfterSend, Fate::ReplySwallowed, 1),
        (Point::MidReply, Fate::ReplySwallowed, 1),
    ];
    for (number, (point, fate, executed)) in table.into_iter().enumerate() {
        let collection = format!("trapped_{number}");
        let mut other = through(&relay).await;
        drop_collection(&mut other, &collection).await;
        relay.set_trap(Some(Trap::new(point, &collection, 1)));

        let mut raw = through(&relay).await;
        assert!(
            raw.command(&doc! { "ping": 1, "$db": DATABASE })
                .await
                .unwrap()
                .ok()
        );
        let cut = raw.command(&insert(&collection, 1)).await;
        assert!(cut.is_err(), "{point:?}: {cut:?}");

        // It is used up.
        assert_eq!(count(&mut other, &collection).await, executed, "{point:?}");
        let met = relay.met();
        assert_eq!(met.len(), number + 1, "{met:?}");
        let last = met.last().unwrap();
        assert_eq!((last.fate, last.command.as_str()), (fate, "insert"), "{point:?}");
    }
}

#[tokio::test]
async fn a_cut_in_mid_reply_lets_a_part_of_it_pass() {
    use tokio::io::AsyncReadExt;
    let relay = relay().await;
    let mut raw = through(&relay).await;
    drop_collection(&mut raw, "parts").await;
    relay.set_trap(Some(Trap::new(Point::MidReply, "parts", 1)));
    let request = msg(1, 0, &[body_section(&insert("parts", 1))]);
    raw.send(&request).await.unwrap();
    let mut reply = Vec::new();
    raw.stream.read_to_end(&mut reply).await.unwrap();
    let announced = i32::from_le_bytes(*reply.first_chunk().unwrap_or(&[0; 4])) as usize;
    assert!(
        !reply.is_empty() && (announced == 0 || reply.len() < announced),
        "{reply:?}"
    );
}

#[tokio::test]
async fn a_black_hole_holds_both_ways_and_lets_go_of_what_it_held() {
    let relay = relay().await;
    let mut raw = through(&relay).await;
    drop_collection(&mut raw, "holes").await;
    let held = |held| Weather {
        held,
        ..Weather::default()
    };
    let ways = [Held::Both, Held::Only(Towards::Node), Held::Only(Towards::Client)];
    for (way, id) in ways.into_iter().zip(1..) {
        relay.set_weather(held(way));
        let request = msg(id, 0, &[body_section(&insert("holes", id))]);
        raw.send(&request).await.unwrap();
        assert!(
            timeout(SOON, raw.receive()).await.is_err(),
            "{way:?}: nothing comes"
        );
        let mut late = through(&relay).await;
        let ping = msg(9, 0, &[body_section(&doc! { "ping": 1, "$db": DATABASE })]);
        late.send(&ping).await.unwrap();
        assert!(
            timeout(SOON / 4, late.receive()).await.is_err(),
            "{way:?}: new ones are accepted and dead"
        );
        // Only where requests pass does the node have it.
        let at_the_node = relay.in_flight("");
        let expected: &[&str] = if way == Held::Only(Towards::Client) {
            &["insert"]
        } else {
            &[]
        };
        assert_eq!(at_the_node, expected, "{way:?}");
        relay.set_weather(Weather::default());
        assert!(raw.reply_to(id).await.unwrap().ok(), "{way:?}");
        assert!(late.reply_to(9).await.unwrap().ok(), "{way:?}");
    }
    assert_eq!(count(&mut raw, "holes").await, 3);
    assert!(
        relay
            .met()
            .iter()
            .all(|met| met.fate == Fate::Slowed && met.command == "insert")
    );
}

#[tokio::test]
async fn late_and_dripping_bytes_arrive_all() {
    let relay = relay().await;
    let mut raw = through(&relay).await;
    drop_collection(&mut raw, "slow").await;
    let latency = Duration::from_millis(60);
    relay.set_weather(Weather {
        latency,
        ..Weather::default()
    });
    let started = Instant::now();
    let many: Vec<Document> = (0..2000).map(|id| doc! { "_id": id }).collect();
    let insert_many = doc! { "insert": "slow", "documents": many, "$db": DATABASE };
    assert!(raw.command(&insert_many).await.unwrap().ok());
    assert!(started.elapsed() >= 2 * latency, "once in each direction");

    relay.set_weather(Weather {
        drip: true,
        ..Weather::default()
    });
    let started = Instant::now();
    assert!(raw.command(&insert("slow", 5000)).await.unwrap().ok());
    assert!(
        started.elapsed() >= Duration::from_millis(4),
        "a pause after each 64 bytes"
    );
    relay.set_weather(Weather::default());
    assert_eq!(count(&mut raw, "slow").await, 2001);
}
