//! Tables of writes and of what makes them recognisable.

use bson::{Bson, Document, doc, spec::BinarySubtype, uuid::Uuid};
use proptest::prelude::*;

use super::*;
use crate::wire::op_msg::{CHECKSUM_PRESENT, Layout};

/// A message of this body and these sequences behind it.
fn message(body: &Document, sequences: &[(&str, &[Document])], flags: u32) -> Vec<u8> {
    let mut out = vec![0; 16];
    out[12..].copy_from_slice(&2013_i32.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.push(0);
    out.extend_from_slice(&body.to_vec().unwrap());
    for (name, documents) in sequences {
        let documents: Vec<u8> = documents.iter().flat_map(|d| d.to_vec().unwrap()).collect();
        out.push(1);
        out.extend_from_slice(&((4 + name.len() + 1 + documents.len()) as i32).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.extend_from_slice(&documents);
    }
    let sum = if flags & CHECKSUM_PRESENT == 0 { 0 } else { 4 };
    let length = (out.len() + sum) as i32;
    out[..4].copy_from_slice(&length.to_le_bytes());
    if sum > 0 {
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    }
    out
}

fn request(message: &[u8]) -> Request {
    Request::peek(message, Layout::parse(message).unwrap()).unwrap()
}

fn shape_of(body: &Document) -> Option<WriteShape> {
    let message = message(body, &[], 0);
    shape(&message, &request(&message))
}

fn takes(body: &Document) -> bool {
    let message = message(body, &[], 0);
    takes_number(&message, &request(&message))
}

const ONE: Option<WriteShape> = Some(WriteShape {
    is_recognisable: true,
    is_one: true,
});
const SEVERAL: Option<WriteShape> = Some(WriteShape {
    is_recognisable: true,
    is_one: false,
});
const MANY_DOCUMENTS: Option<WriteShape> = Some(WriteShape {
    is_recognisable: false,
    is_one: true,
});

fn update(more: Document) -> Document {
    let mut update = doc! {"q": {"multi": true}, "u": {"$inc": {"x": 1}}};
    update.extend(more);
    update
}

#[test]
fn statements_for_one_document_are_told_from_those_for_many() {
    let mixed = MANY_DOCUMENTS.map(|shape| WriteShape {
        is_one: false,
        ..shape
    });
    let table = [
        (doc! {"insert": "c", "documents": [{"a": 1}]}, ONE),
        (
            doc! {"insert": "c", "documents": [{"a": 1}, {"a": 2}, {"a": 3}]},
            SEVERAL,
        ),
        (doc! {"insert": "c", "documents": []}, None),
        (doc! {"insert": "c"}, None),
        (doc! {"insert": "c", "documents": {"0": {}}}, None),
        (doc! {"insert": "c", "documents": [5]}, None),
        (doc! {"update": "c", "updates": [update(doc! {})]}, ONE),
        (
            doc! {"update": "c", "updates": [update(doc! {"multi": false})]},
            ONE,
        ),
        (
            doc! {"update": "c", "updates": [update(doc! {}), update(doc! {"upsert": true})]},
            SEVERAL,
        ),
        (
            doc! {"update": "c", "updates": [update(doc! {"multi": true})]},
            MANY_DOCUMENTS,
        ),
        (
            doc! {"update": "c", "updates": [update(doc! {"multi": 0})]},
            MANY_DOCUMENTS,
        ),
        (
            doc! {"update": "c", "updates": [update(doc! {"multi": Bson::Null})]},
            MANY_DOCUMENTS,
        ),
        (
            doc! {"update": "c", "updates": [update(doc! {}), update(doc! {"multi": true})]},
            mixed,
        ),
        (doc! {"update": "c", "updates": []}, None),
        (doc! {"delete": "c", "deletes": [{"q": {}, "limit": 1}]}, ONE),
        (
            doc! {"delete": "c", "deletes": [{"q": {}, "limit": 1.0}, {"q": {}, "limit": 1_i64}]},
            SEVERAL,
        ),
        (
            doc! {"delete": "c", "deletes": [{"q": {}, "limit": 0}]},
            MANY_DOCUMENTS,
        ),
        (
            doc! {"delete": "c", "deletes": [{"q": {}, "limit": 1}, {"q": {}, "limit": 0}]},
            mixed,
        ),
        (
            doc! {"delete": "c", "deletes": [{"q": {"limit": 1}}]},
            MANY_DOCUMENTS,
        ),
        (
            doc! {"delete": "c", "deletes": [{"q": {}, "limit": true}]},
            MANY_DOCUMENTS,
        ),
        (doc! {"findAndModify": "c", "query": {}, "remove": true}, ONE),
        (doc! {"findandmodify": "c", "update": {}}, ONE),
        (
            doc! {"bulkWrite": 1, "ops": [{"insert": 0, "document": {}}, {"delete": 0, "filter": {}, "multi": false}]},
            SEVERAL,
        ),
        (
            doc! {"bulkWrite": 1, "ops": [{"update": 0, "updateMods": {}, "multi": true}]},
            MANY_DOCUMENTS,
        ),
        (doc! {"find": "c"}, None),
        (
            doc! {"aggregate": "c", "pipeline": [{"$out": "d"}], "documents": [{}]},
            None,
        ),
        (doc! {"fromTheFuture": "c", "documents": [{}]}, None),
        (doc! {"drop": "c"}, None),
    ];
    for (mut body, expected) in table {
        body.insert("$db", "d");
        assert_eq!(shape_of(&body), expected, "{body}");
        assert_eq!(
            takes(&body),
            expected.is_some_and(|shape| shape.is_recognisable),
            "{body}"
        );
    }
    assert!(ONE.unwrap().is_single());
    assert!(!SEVERAL.unwrap().is_single() && !MANY_DOCUMENTS.unwrap().is_single());
}

#[test]
fn statements_in_sections_of_their_own_are_found() {
    let (multi, one) = (update(doc! {"multi": true}), update(doc! {}));
    let delete = doc! {"q": {}, "limit": 1};
    let (insert, bulk) = (doc! {"insert": "c"}, doc! {"bulkWrite": 1});
    let table = [
        (insert.clone(), "documents", vec![doc! {}], ONE),
        (insert.clone(), "documents", vec![doc! {}, doc! {}], SEVERAL),
        (insert.clone(), "documents", vec![], None),
        (insert.clone(), "updates", vec![doc! {}], None),
        (doc! {"update": "c"}, "updates", vec![one.clone()], ONE),
        (doc! {"update": "c"}, "updates", vec![multi], MANY_DOCUMENTS),
        (
            doc! {"delete": "c"},
            "deletes",
            vec![delete.clone(), delete],
            SEVERAL,
        ),
        (doc! {"delete": "c"}, "deletes", vec![doc! {}], MANY_DOCUMENTS),
        (bulk, "ops", vec![one], ONE),
        // In both places, which servers refuse.
        (
            doc! {"insert": "c", "documents": [{}]},
            "documents",
            vec![doc! {}],
            None,
        ),
    ];
    for (mut body, name, documents, expected) in table {
        body.insert("$db", "d");
        for flags in [0, CHECKSUM_PRESENT] {
            let message = message(&body, &[(name, &documents)], flags);
            let request = request(&message);
            assert_eq!(shape(&message, &request), expected, "{body}");
            let is_recognisable = expected.is_some_and(|shape| shape.is_recognisable);
            assert_eq!(takes_number(&message, &request), is_recognisable, "{body}");
        }
    }
}

#[test]
fn what_must_keep_its_own_session_or_goes_without_one_takes_no_number() {
    let uuid = |subtype, bytes: &[u8]| bson::Binary {
        subtype,
        bytes: bytes.to_vec(),
    };
    let id = uuid(BinarySubtype::Uuid, &[7; 16]);
    let table = [
        (doc! {}, true),
        (doc! {"$db": "admin"}, true),
        (doc! {"$db": "local"}, false),
        (doc! {"$db": "locality"}, true),
        (doc! {"$db": "config"}, true),
        (doc! {"insert": "transactions", "$db": "config"}, false),
        (doc! {"insert": "transactions"}, true),
        (doc! {"txnNumber": 5_i64}, false),
        (doc! {"txnNumber": "nonsense"}, false),
        (doc! {"autocommit": false}, false),
        (doc! {"startTransaction": true}, false),
        (doc! {"stmtId": 1}, false),
        (doc! {"stmtIds": [1]}, false),
        (doc! {"writeConcern": {"w": 0}}, true),
        (doc! {"lsid": {"id": Uuid::new()}}, true),
        (doc! {"lsid": {"id": Uuid::new(), "uid": 1}}, false),
        (doc! {"lsid": {"uid": 1, "id": Uuid::new()}}, false),
        (
            doc! {"lsid": {"id": uuid(BinarySubtype::UuidOld, &[7; 16])}},
            false,
        ),
        (doc! {"lsid": {"id": uuid(BinarySubtype::Uuid, &[7; 15])}}, false),
        (doc! {"lsid": {"id": "a string of this length"}}, false),
        (doc! {"lsid": {}}, false),
        (doc! {"lsid": [{"id": id.clone()}]}, false),
        (doc! {"lsid": id}, false),
        (doc! {"lsid": 5}, false),
    ];
    for (more, expected) in table {
        let mut body = doc! {"insert": "c", "documents": [{}], "$db": "d"};
        body.extend(more);
        assert_eq!(takes(&body), expected, "{body}");
    }
}

#[test]
fn an_array_in_the_place_of_a_session_is_none() {
    let body = doc! {"insert": "c", "documents": [{}], "lsid": {"id": Uuid::new()}, "$db": "d"};
    let mut message = message(&body, &[], 0);
    assert!(lsid_at(&message, &request(&message)).is_some());
    let kind = message.windows(6).position(|part| part == b"\x03lsid\0").unwrap();
    message[kind] = 0x04;
    assert_eq!(lsid_at(&message, &request(&message)), None);
}

#[test]
fn a_bulk_write_takes_a_number_if_its_namespaces_do_and_its_results_need_no_cursor() {
    let ops: Vec<_> = (0..MOST_BULK)
        .map(|_| doc! {"insert": 0, "document": {}})
        .collect();
    let too_many = [ops.clone(), vec![doc! {"insert": 0, "document": {}}]].concat();
    let table = [
        (doc! {"ops": &ops, "nsInfo": [{"ns": "d.c"}]}, true),
        (doc! {"ops": too_many, "nsInfo": [{"ns": "d.c"}]}, false),
        (
            doc! {"ops": &ops[..1], "nsInfo": [{"ns": "d.c"}], "cursor": {}},
            true,
        ),
        (
            doc! {"ops": &ops[..1], "nsInfo": [{"ns": "d.c"}], "cursor": {"batchSize": 1}},
            false,
        ),
        (
            doc! {"ops": &ops[..1], "nsInfo": [{"ns": "d.c"}, {"ns": "local.c"}]},
            false,
        ),
        (
            doc! {"ops": &ops[..1], "nsInfo": [{"ns": "config.transactions"}]},
            false,
        ),
        (doc! {"ops": &ops[..1], "nsInfo": [{"ns": 5}]}, false),
        (doc! {"ops": &ops[..1], "nsInfo": [{}]}, false),
    ];
    for (more, expected) in table {
        let mut body = doc! {"bulkWrite": 1, "$db": "admin"};
        body.extend(more);
        assert_eq!(takes(&body), expected, "{:?}", body.get("nsInfo"));
    }
}

proptest! {
    #[test]
    fn damaged_writes_never_panic(at in 16usize..700, with in any::<u8>(), cut in 0usize..50, kind in 0usize..3) {
        let statement = update(doc! {"multi": false, "limit": 1});
        let (body, name) = match kind {
            0 => (doc! {"update": "c", "lsid": {"id": Uuid::new()}, "$db": "d"}, "updates"),
            1 => (doc! {"delete": "c", "deletes": [{"q": {}, "limit": 1}], "$db": "d"}, "deletes"),
            _ => (doc! {"bulkWrite": 1, "nsInfo": [{"ns": "d.c"}], "cursor": {}, "$db": "admin"}, "ops"),
        };
        let mut bytes = message(&body, &[(name, &[statement.clone(), statement])], 0);
        let peeked = request(&bytes);
        let at = at % bytes.len();
        if at >= 16 {
            bytes[at] = with;
        }
        bytes.truncate(bytes.len() - cut % bytes.len());
        let _ = (shape(&bytes, &peeked), takes_number(&bytes, &peeked), lsid_at(&bytes, &peeked));
        if let Ok(layout) = Layout::parse(&bytes)
            && let Ok(request) = Request::peek(&bytes, layout)
        {
            let _ = (shape(&bytes, &request), takes_number(&bytes, &request), lsid_at(&bytes, &request));
        }
    }
}
