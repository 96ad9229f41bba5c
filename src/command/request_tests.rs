//! What is peeked of requests, well-formed and not.

use super::*;
use crate::wire::op_msg;
use bson::{Document, doc};
use bytes::BytesMut;
use proptest::prelude::*;

fn message(body: &Document) -> BytesMut {
    let mut out = BytesMut::new();
    op_msg::encode(
        RawDoc::prefix(&body.to_vec().unwrap()).unwrap(),
        1,
        0,
        0,
        &mut out,
    );
    out
}

fn peek(body: &Document) -> Result<Request, ErrorReply> {
    let bytes = message(body);
    Request::peek(&bytes, Layout::parse(&bytes).unwrap())
}

#[test]
fn what_routing_needs_is_found() {
    let body = doc! {
        "find": "c", "filter": {"$db": "no", "lsid": 1}, "lsid": {"id": 1}, "txnNumber": 5i64, "autocommit": false,
        "startTransaction": true, "maxTimeMS": 250, "$db": "shop", "$readPreference": {"mode": "nearest"},
        "readConcern": {"level": "linearizable"},
    };
    let bytes = message(&body);
    let request = Request::peek(&bytes, Layout::parse(&bytes).unwrap()).unwrap();
    assert_eq!(
        (request.name(&bytes), request.db(&bytes)),
        (&b"find"[..], &b"shop"[..])
    );
    let lsid = Document::from_reader(request.lsid.unwrap().of(&bytes)).unwrap();
    assert_eq!(lsid, doc! {"id": 1});
    assert!(request.has_txn_number && request.in_transaction && request.starts_transaction);
    assert!(request.linearizable && request.is_transaction_statement() && request.may_have_cursor());
    assert_eq!(request.deadline_millis(), Some(250));
    let preference = Document::from_reader(request.read_preference.unwrap().of(&bytes)).unwrap();
    assert_eq!(preference, doc! {"mode": "nearest"});
}

#[test]
fn a_namespace_has_a_collection_only_where_the_command_works_on_one() {
    for (body, expected) in [
        (doc! {"find": "c", "collection": "x", "$db": "d"}, "d.c"),
        (doc! {"insert": "c", "$db": "d"}, "d.c"),
        (doc! {"getMore": 7i64, "collection": "c", "$db": "d"}, "d.c"),
        (doc! {"getMore": 7i64, "collection": 5, "$db": "d"}, "d"),
        (doc! {"aggregate": 1, "pipeline": [], "$db": "d"}, "d"),
        (doc! {"createUser": "bob", "$db": "admin"}, "admin"),
        (doc! {"fromTheFuture": "c", "$db": "d"}, "d"),
    ] {
        let bytes = message(&body);
        let request = Request::peek(&bytes, Layout::parse(&bytes).unwrap()).unwrap();
        let mut found = String::new();
        request.write_namespace(&bytes, &mut found);
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn writing_pipelines_and_map_reduces_are_told_from_reading_ones() {
    let table = [
        (
            doc! {"aggregate": "c", "pipeline": [{"$match": {"$out": 1}}], "$db": "d"},
            false,
        ),
        (
            doc! {"aggregate": "c", "pipeline": [{"$match": {}}, {"$out": "x"}], "$db": "d"},
            true,
        ),
        (
            doc! {"aggregate": "c", "pipeline": [{"$merge": {"into": "x"}}], "$db": "d"},
            true,
        ),
        (doc! {"aggregate": 1, "pipeline": [], "$db": "d"}, false),
        (doc! {"mapReduce": "c", "out": {"inline": 1}, "$db": "d"}, false),
        (doc! {"mapReduce": "c", "out": "x", "$db": "d"}, true),
        (doc! {"mapreduce": "c", "out": {"merge": "x"}, "$db": "d"}, true),
        (doc! {"find": "c", "out": "x", "$db": "d"}, false),
    ];
    for (body, writes) in table {
        assert_eq!(peek(&body).unwrap().writes, writes, "{body}");
    }
}

#[test]
fn what_waits_for_new_documents_is_told_from_what_ends_by_itself() {
    let table = [
        (
            doc! {"find": "c", "tailable": true, "awaitData": true, "$db": "d"},
            true,
        ),
        (doc! {"find": "c", "tailable": true, "$db": "d"}, false),
        (
            doc! {"aggregate": 1, "pipeline": [{"$changeStream": {}}, {"$match": {}}], "$db": "d"},
            true,
        ),
        (
            doc! {"aggregate": 1, "pipeline": [{"$match": {"$changeStream": 1}}], "$db": "d"},
            false,
        ),
        (
            doc! {"getMore": 7i64, "collection": "c", "maxTimeMS": 500, "$db": "d"},
            true,
        ),
        (doc! {"getMore": 7i64, "collection": "c", "$db": "d"}, false),
        (doc! {"find": "c", "maxTimeMS": 500, "$db": "d"}, false),
    ];
    for (body, awaits) in table {
        assert_eq!(peek(&body).unwrap().awaits, awaits, "{body}");
    }
}

#[test]
fn reads_that_may_go_again_are_told_from_all_else() {
    let table = [
        (doc! {"find": "c", "$db": "d"}, true),
        (
            doc! {"aggregate": "c", "pipeline": [{"$match": {}}], "$db": "d"},
            true,
        ),
        (
            doc! {"aggregate": "c", "pipeline": [{"$out": "x"}], "$db": "d"},
            false,
        ),
        (doc! {"distinct": "c", "$db": "d"}, true),
        (doc! {"count": "c", "$db": "d"}, true),
        (doc! {"listDatabases": 1, "$db": "admin"}, true),
        (doc! {"listCollections": 1, "$db": "d"}, true),
        (doc! {"listIndexes": "c", "$db": "d"}, true),
        (doc! {"connectionStatus": 1, "$db": "d"}, true),
        (
            doc! {"find": "c", "autocommit": false, "txnNumber": 1i64, "$db": "d"},
            false,
        ),
        (doc! {"getMore": 5i64, "collection": "c", "$db": "d"}, false),
        (doc! {"insert": "c", "$db": "d"}, false),
        (doc! {"findAndModify": "c", "$db": "d"}, false),
        (doc! {"fromTheFuture": "c", "$db": "d"}, false),
    ];
    for (body, may) in table {
        assert_eq!(peek(&body).unwrap().is_retryable_read(), may, "{body}");
    }
}

#[test]
fn only_a_get_more_may_be_answered_by_a_stream_of_replies() {
    let more = doc! {"getMore": 5i64, "collection": "c", "$db": "d"};
    let table = [
        (more.clone(), EXHAUST_ALLOWED, true),
        (more.clone(), EXHAUST_ALLOWED | MORE_TO_COME, false),
        (more, 0, false),
        (doc! {"find": "c", "$db": "d"}, EXHAUST_ALLOWED, false),
    ];
    for (body, flags, may) in table {
        let mut request = peek(&body).unwrap();
        request.layout.flags = flags;
        assert_eq!(request.takes_exhaust(), may, "{body} {flags:#x}");
    }
}

#[test]
fn a_get_more_names_its_cursor_and_its_wait_is_no_deadline() {
    let request = peek(&doc! {"getMore": 77i64, "collection": "c", "maxTimeMS": 1000, "$db": "d"}).unwrap();
    assert_eq!((request.cursor_id, request.deadline_millis()), (Some(77), None));
    assert_eq!(peek(&doc! {"find": 77i64, "$db": "d"}).unwrap().cursor_id, None);
}

#[test]
fn a_request_without_a_database_is_answered_as_mongod_does() {
    assert_eq!(peek(&doc! {"ping": 1}).unwrap_err().code(), 40571);
    assert_eq!(peek(&doc! {}).unwrap_err().code(), 40571);
    assert_eq!(peek(&doc! {"ping": 1, "$db": 1}).unwrap_err().code(), 13111);
}

proptest! {
    #[test]
    fn damaged_requests_never_panic(at in 21usize..400, with in any::<u8>()) {
        let mut bytes = message(&doc! {
            "aggregate": "c", "pipeline": [{"$match": {"a": 1}}, {"$out": "x"}], "maxTimeMS": 5, "$db": "d",
            "$readPreference": {"mode": "secondary"}, "readConcern": {"level": "local"},
        });
        let at = at % bytes.len();
        if at > 16 {
            bytes[at] = with;
        }
        if let Ok(layout) = Layout::parse(&bytes)
            && let Ok(request) = Request::peek(&bytes, layout) {
                let _ = (request.name(&bytes), request.db(&bytes), request.class(), request.is_abandonable());
            }
    }
}
