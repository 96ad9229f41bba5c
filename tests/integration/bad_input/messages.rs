//! Whole messages and broken frames: each has the outcome that it has at a `mongod`, or a closed connection.

use bson::doc;

use super::{
    Outcome, abuse,
    cases::{answered_as_by_mongod, answered_otherwise, closing, find},
    logged, node, ping, proxy, send, send_and_end,
};
use crate::support::raw::{
    CHECKSUM_PRESENT, OP_GET_MORE, OP_KILL_CURSORS, OP_REPLY, body_section, frame, msg, query,
};

#[test]
fn a_message_without_an_answer_closes_the_connection_and_the_log_says_why() {
    let proxy = proxy("");
    abuse(&proxy, async {
        let address = proxy.address.to_string();
        for (name, bytes, why) in closing() {
            // A mongod takes opcode 0 for none at all.
            if name != "opcode 0" {
                let (direct, _) = send(node().address(0), &bytes).await;
                assert_eq!(direct, Outcome::Closed, "{name}, directly");
            }
            let (proxied, client) = send(&address, &bytes).await;
            assert_eq!(proxied, Outcome::Closed, "{name}");
            logged(&proxy, client, why).await;
        }
    });
}

#[test]
fn a_message_that_breaks_off_is_closed_and_logged() {
    let proxy = proxy("");
    abuse(&proxy, async {
        let address = proxy.address.to_string();
        let small = msg(7, 0, &[body_section(&ping())]);
        let large = msg(7, 0, &[body_section(&find(doc! {"a": "x".repeat(100_000)}))]);
        for message in [small, large] {
            for sent in [1, 15, 16, 20, message.len() / 2, message.len() - 1] {
                let (outcome, client) = send_and_end(&address, &message[..sent]).await;
                assert_eq!(outcome, Outcome::Closed, "{sent} of {} bytes", message.len());
                logged(&proxy, client, "truncated").await;
            }
        }
    });
}

#[test]
fn an_invalid_message_has_the_answer_that_a_mongod_gives() {
    let proxy = proxy("");
    abuse(&proxy, async {
        let address = proxy.address.to_string();
        for (name, bytes, code) in answered_otherwise() {
            let (proxied, _) = send(&address, &bytes).await;
            assert_eq!(proxied.reply().code(), code, "{name}: {proxied:?}");
        }
        for (name, bytes) in answered_as_by_mongod() {
            let (proxied, _) = send(&address, &bytes).await;
            let (direct, _) = send(node().address(0), &bytes).await;
            assert_eq!(
                summary(&proxied),
                summary(&direct),
                "{name}: {proxied:?} {direct:?}"
            );
        }
    });
}

#[test]
fn a_request_with_a_checksum_is_answered_with_one() {
    let proxy = proxy("");
    abuse(&proxy, async {
        let address = proxy.address.to_string();
        for command in [
            // Relayed, relayed with something spliced in, answered here, refused here, an error here.
            find(doc! {}),
            doc! {"find": "c", "maxTimeMS": 10_000, "$db": "bad", "$readPreference": {"mode": "nearest"}},
            ping(),
            doc! {"saslStart": 1, "$db": "admin"},
            doc! {"ping": 1},
        ] {
            let (outcome, _) = send(&address, &msg(7, CHECKSUM_PRESENT, &[body_section(&command)])).await;
            // The client has checked the sum.
            assert_eq!(outcome.reply().flags, CHECKSUM_PRESENT, "{command}: {outcome:?}");
            let (outcome, _) = send(&address, &msg(7, 0, &[body_section(&command)])).await;
            assert_eq!(outcome.reply().flags, 0, "{command}: {outcome:?}");
        }
    });
}

#[test]
fn legacy_messages_are_answered_in_kind() {
    const CURSOR_NOT_FOUND: u32 = 1;
    const QUERY_FAILURE: u32 = 2;
    let proxy = proxy("");
    abuse(&proxy, async {
        let address = proxy.address.to_string();
        for command in [
            doc! {"isMaster": 1},
            doc! {"ping": 1},
            doc! {"find": "c"},
            doc! {"$query": {"count": "c"}},
        ] {
            let (outcome, _) = send(&address, &query(7, "bad.$cmd", &command)).await;
            let reply = outcome.reply();
            assert!(reply.ok() && reply.op_code == OP_REPLY, "{command}: {reply:?}");
        }
        let (outcome, _) = send(&address, &query(7, "bad.c", &doc! {"a": {"$unheard": 1}})).await;
        let reply = outcome.reply();
        assert_eq!((reply.op_code, reply.code()), (OP_REPLY, 2));
        assert!(reply.flags & QUERY_FAILURE != 0 && reply.body.contains_key("$err"));

        let more = [&[0; 4][..], b"bad.c\0", &[0; 4], &[9; 8]].concat();
        let (outcome, _) = send(&address, &frame(7, OP_GET_MORE, &more)).await;
        assert!(outcome.reply().flags & CURSOR_NOT_FOUND != 0, "{outcome:?}");
        let kill = [&[0; 4][..], &1i32.to_le_bytes(), &[9; 8]].concat();
        assert_eq!(
            send(&address, &frame(7, OP_KILL_CURSORS, &kill)).await.0,
            Outcome::Ignored
        );
        // Poco tells the number of cursors in 8 bytes, and a `mongod` 4.2 overlooks that.
        let broken = [&[0; 4][..], &1i64.to_le_bytes(), &[9; 8]].concat();
        assert_eq!(
            send(&address, &frame(7, OP_KILL_CURSORS, &broken)).await.0,
            Outcome::Ignored
        );
    });
}

fn summary(outcome: &Outcome) -> Option<(i32, bool, i64)> {
    match outcome {
        Outcome::Replied(reply) => Some((reply.op_code, reply.ok(), reply.code())),
        Outcome::Ignored => None,
        Outcome::Closed => panic!("closed without an answer"),
    }
}
