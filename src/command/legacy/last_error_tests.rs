//! Outcomes, and what `getLastError` tells of them.

use super::*;
use crate::command::legacy::concern::Members;
use bson::{Bson, Document, doc};

const HERE: (&str, &str) = ("d", "c");

fn wrote(kind: Write, reply: &Document, sent: &Concern) -> LastError {
    let mut last = LastError::default();
    let reply = reply.to_vec().unwrap();
    last.note_write(kind, RawDoc::prefix(&reply).unwrap(), HERE, sent)
        .unwrap();
    last
}

fn answered(last: &LastError, asked: &Concern) -> Document {
    Document::try_from(last.answer(asked, 7)).unwrap()
}

fn majority() -> Concern {
    Concern {
        members: Members::Mode("majority".to_owned()),
        ..Concern::default()
    }
}

#[test]
fn outcomes_are_told_as_mongod_told_them() {
    let plain = Concern::default();
    let id = bson::oid::ObjectId::from_bytes([1; 12]);
    let upserted = doc! {"n": 1, "nModified": 0, "upserted": [{"index": 0, "_id": id}], "ok": 1.0};
    let duplicate =
        doc! {"n": 0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "E11000 dup"}], "ok": 1.0};
    let well = |n: i32, fields: Document| {
        let mut all = doc! {"connectionId": 7};
        all.extend(fields);
        all.extend(doc! {"n": n, "syncMillis": 0, "writtenTo": Bson::Null, "err": Bson::Null, "ok": 1.0});
        all
    };
    let failed = |code: i32, name: &str, message: &str| doc! {"connectionId": 7, "err": message, "code": code, "codeName": name, "n": 0, "ok": 1.0};
    let table = [
        (Write::Insert, doc! {"n": 3, "ok": 1.0}, well(0, doc! {})),
        (Write::Delete, doc! {"n": 3, "ok": 1.0}, well(3, doc! {})),
        (
            Write::Update,
            doc! {"n": 2, "nModified": 0, "ok": 1.0},
            well(2, doc! {"updatedExisting": true}),
        ),
        (
            Write::Update,
            doc! {"n": 0, "nModified": 0, "ok": 1.0},
            well(0, doc! {"updatedExisting": false}),
        ),
        (
            Write::Update,
            upserted,
            well(1, doc! {"updatedExisting": false, "upserted": id}),
        ),
        (
            Write::Insert,
            duplicate,
            failed(11000, "DuplicateKey", "E11000 dup"),
        ),
        (
            Write::Insert,
            doc! {"ok": 0.0, "code": 6, "codeName": "HostUnreachable", "errmsg": "gone"},
            failed(6, "HostUnreachable", "gone"),
        ),
    ];
    for (kind, reply, expected) in table {
        let last = wrote(kind, &reply, &plain);
        assert_eq!(answered(&last, &plain), expected, "{reply}");
        assert_eq!(answered(&last, &plain), expected, "and again");
    }
    let fresh = LastError::default();
    assert_eq!(
        answered(&fresh, &majority()),
        well(0, doc! {}),
        "nothing was written"
    );
}

#[test]
fn a_concern_that_went_along_is_not_waited_for_again() {
    let mut last = wrote(Write::Insert, &doc! {"n": 1, "ok": 1.0}, &majority());
    assert_eq!(last.must_wait(&majority()), None);
    assert_eq!(last.usual_concern(), majority(), "the next write has it, too");
    assert_eq!(last.must_wait(&Concern::default()), None);
    let mut last = wrote(Write::Insert, &doc! {"n": 1, "ok": 1.0}, &Concern::one());
    assert_eq!(
        last.must_wait(&majority()),
        Some(("d".to_owned(), "c".to_owned()))
    );
    let unsatisfiable = doc! {"n": 0, "ok": 1.0, "writeConcernError": {"code": 100, "codeName": "UnsatisfiableWriteConcern", "errmsg": "no"}};
    let reply = unsatisfiable.to_vec().unwrap();
    assert!(
        last.note_wait(&majority(), RawDoc::prefix(&reply).unwrap(), true)
            .unwrap()
    );
    let answer = answered(&last, &majority());
    assert_eq!(
        (answer.get_f64("ok").ok(), answer.get_i32("code").ok()),
        (Some(0.0), Some(100))
    );
    assert_eq!(answered(&last, &Concern::default()).get_f64("ok").ok(), Some(1.0));
    assert_eq!(LastError::default().must_wait(&majority()), None);
}

#[test]
fn a_wait_that_took_too_long_is_no_failure() {
    let asked = Concern {
        timeout: 50,
        ..majority()
    };
    let late =
        doc! {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out"};
    let last = wrote(
        Write::Insert,
        &doc! {"n": 1, "ok": 1.0, "writeConcernError": late},
        &asked,
    );
    let answer = answered(&last, &asked);
    assert_eq!(answer.get_bool("wtimeout").ok(), Some(true));
    assert_eq!(
        (
            answer.get_str("err").ok(),
            answer.get_f64("ok").ok(),
            answer.get_i32("waited").ok()
        ),
        (Some("timeout"), Some(1.0), Some(50))
    );
}

#[test]
fn operations_in_between_make_the_outcome_one_of_the_past() {
    let reply =
        doc! {"n": 0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "E11000 dup"}], "ok": 1.0};
    let mut last = wrote(Write::Insert, &reply, &Concern::one());
    let previous = |last: &LastError| Document::try_from(last.previous()).unwrap();
    assert_eq!(previous(&last).get_i32("nPrev").ok(), Some(1));
    last.note(Outcome::Done);
    assert_eq!(answered(&last, &Concern::default()).get("err"), Some(&Bson::Null));
    assert_eq!(
        (
            previous(&last).get_i32("nPrev").ok(),
            previous(&last).get_i32("code").ok()
        ),
        (Some(2), Some(11000))
    );
    last.reset();
    assert_eq!(previous(&last).get("err"), Some(&Bson::Null));
    last.note(Outcome::Failed(forced()));
    assert_eq!(
        answered(&last, &Concern::default()).get_i32("code").ok(),
        Some(10038)
    );
}

#[test]
fn the_place_in_the_oplog_is_that_of_the_last_write() {
    let ts = Timestamp {
        time: 5,
        increment: 2,
    };
    let reply = doc! {"n": 1, "opTime": {"ts": ts, "t": 3i64}, "ok": 1.0};
    let mut last = wrote(Write::Insert, &reply, &Concern::one());
    last.note(Outcome::Done);
    let place = doc! {"ts": ts, "t": 3i64};
    assert_eq!(
        answered(&last, &Concern::default()).get_document("lastOp").ok(),
        Some(&place)
    );
}

#[test]
fn what_asks_for_the_impossible_is_refused_with_its_command() {
    let last = LastError::default();
    let command = bson::rawdoc! { "getlasterror": 1, "w": true, "$db": "d" };
    let refused = last.refuse(
        &BadConcern("w has to be a number or a string".to_owned()),
        &command,
        7,
    );
    let refused = Document::try_from(refused).unwrap();
    assert_eq!(
        (refused.get_f64("ok").ok(), refused.get_i32("code").ok()),
        (Some(0.0), Some(9))
    );
    let said = doc! {"getlasterror": 1, "w": true};
    assert_eq!(refused.get_document("badGLE").ok(), Some(&said));
}

#[test]
fn a_concern_that_did_not_hold_is_waited_for_again_when_it_is_asked_for_again() {
    let late =
        doc! {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out"};
    let reply = doc! {"n": 1, "ok": 1.0, "writeConcernError": late};
    let mut last = wrote(Write::Insert, &reply, &majority());
    assert_eq!(last.must_wait(&majority()), None, "the write has waited");
    assert_eq!(answered(&last, &majority()).get_bool("wtimeout").ok(), Some(true));
    assert!(last.must_wait(&majority()).is_some());
    let caught_up = doc! {"n": 0, "ok": 1.0}.to_vec().unwrap();
    assert!(
        last.note_wait(&majority(), RawDoc::prefix(&caught_up).unwrap(), true)
            .unwrap()
    );
    assert_eq!(answered(&last, &majority()).get("err"), Some(&Bson::Null));
    assert_eq!(last.must_wait(&majority()), None);
}

#[test]
fn a_wait_on_another_primary_says_nothing_of_the_write() {
    let reply = |n: i32, term: i64| {
        let ts = Timestamp {
            time: 5,
            increment: 2,
        };
        doc! {"n": n, "opTime": {"ts": ts, "t": term}, "ok": 1.0}
    };
    for (term, code) in [(3, None), (4, Some(6))] {
        let mut last = wrote(Write::Insert, &reply(1, 3), &Concern::one());
        assert!(last.must_wait(&majority()).is_some());
        let waited = reply(0, term).to_vec().unwrap();
        assert!(
            last.note_wait(&majority(), RawDoc::prefix(&waited).unwrap(), true)
                .unwrap()
        );
        assert_eq!(
            answered(&last, &majority()).get_i32("code").ok(),
            code,
            "term {term}"
        );
    }
}
