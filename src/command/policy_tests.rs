//! What passes and what does not, by tables and by properties over every command that is known.

use bson::{Bson, Document, doc};
use bytes::BytesMut;
use proptest::prelude::*;

use super::{
    Request,
    policy::{Denied, Policy, is, is_known, names},
};
use crate::wire::{
    RawDoc,
    op_msg::{self, Layout},
};

fn judge(policy: &Policy, body: &Document) -> Result<(), Denied> {
    let mut body = body.clone();
    body.insert("$db", "shop");
    judge_bytes(policy, &body.to_vec().unwrap())
}

fn judge_bytes(policy: &Policy, body: &[u8]) -> Result<(), Denied> {
    let mut message = BytesMut::new();
    op_msg::encode(RawDoc::prefix(body).unwrap(), 1, 0, 0, &mut message);
    let request = Request::peek(&message, Layout::parse(&message).unwrap()).unwrap();
    policy.judge(&request, &message)
}

fn denying(names: &[&str]) -> Policy {
    Policy::new(names, false).unwrap()
}

fn read_only() -> Policy {
    Policy::new::<&str>(&[], true).unwrap()
}

const OK: Result<(), Denied> = Ok(());
const READ_ONLY: Result<(), Denied> = Err(Denied::ReadOnly);
const BY_NAME: Result<(), Denied> = Err(Denied::ByName);
const AMBIGUOUS: Result<(), Denied> = Err(Denied::Ambiguous);

#[test]
fn without_rules_there_is_nothing_to_judge_by() {
    assert_eq!(Policy::new::<&str>(&[], false), None);
}

#[test]
fn a_read_only_listener_lets_through_what_only_reads() {
    let policy = read_only();
    for body in [
        doc! {"find": "c"},
        doc! {"aggregate": "c", "pipeline": [{"$match": {"$out": 1}}, {"$lookup": {"from": "d", "pipeline": []}}]},
        doc! {"aggregate": 1, "pipeline": [{"$changeStream": {}}]},
        doc! {"explain": {"find": "c"}},
        doc! {"explain": {"aggregate": "c", "pipeline": []}},
        doc! {"explain": 1},
        doc! {"mapReduce": "c", "out": {"inline": 1}},
        doc! {"mapreduce": "c"},
        doc! {"getMore": 7i64, "collection": "c"},
        doc! {"killCursors": "c", "cursors": [7i64]},
        doc! {"endSessions": []},
        doc! {"commitTransaction": 1},
        doc! {"abortTransaction": 1},
        doc! {"isMaster": 1},
        doc! {"ismaster": 1},
        doc! {"ping": 1},
        doc! {"saslStart": 1},
        doc! {"usersInfo": 1},
        doc! {"getlasterror": 1},
        doc! {"group": {"ns": "c"}},
        doc! {"currentOp": 1},
    ] {
        assert_eq!(judge(&policy, &body), OK, "{body}");
    }
}

#[test]
fn a_read_only_listener_refuses_what_writes_or_may_write() {
    let policy = read_only();
    for body in [
        doc! {"insert": "c"},
        doc! {"update": "c"},
        doc! {"delete": "c"},
        doc! {"findAndModify": "c"},
        doc! {"findandmodify": "c"},
        doc! {"bulkWrite": 1},
        doc! {"aggregate": "c", "pipeline": [{"$match": {}}, {"$out": "d"}]},
        doc! {"aggregate": "c", "pipeline": [{"$merge": {"into": "d"}}]},
        doc! {"aggregate": "c", "pipeline": [{"$out": "d"}, {"$match": {}}]},
        doc! {"aggregate": "c", "pipeline": [{"$match": {}, "$out": "d"}]},
        doc! {"aggregate": "c", "pipeline": {"0": {"$out": "d"}}},
        doc! {"clusterAggregate": "c", "pipeline": [{"$out": "d"}]},
        doc! {"explain": {"aggregate": "c", "pipeline": [{"$out": "d"}]}},
        doc! {"explain": {"update": "c"}},
        doc! {"explain": {"explain": {"delete": "c"}}},
        doc! {"mapReduce": "c", "out": "d"},
        doc! {"mapreduce": "c", "out": {"merge": "d"}},
        doc! {"mapReduce": "c", "out": {"inline": 1, "merge": "d"}},
        doc! {"explain": {"mapReduce": "c", "out": "d"}},
        doc! {"applyOps": []},
        doc! {"eval": "1"},
        doc! {"$eval": "1"},
        doc! {"create": "c"},
        doc! {"createIndexes": "c"},
        doc! {"dropDatabase": 1},
        doc! {"createUser": "u"},
        doc! {"dropUser": "u"},
        doc! {"fsync": 1, "lock": true},
        doc! {"fsyncUnlock": 1},
        doc! {"setParameter": 1},
        doc! {"replSetReconfig": {}},
        doc! {"replSetStepDown": 1},
        doc! {"shutdown": 1},
        doc! {"configureFailPoint": "failCommand"},
        doc! {"killOp": 1, "op": 5},
        doc! {"killAllSessions": []},
        doc! {"validate": "c", "repair": true},
        doc! {"profile": 2},
        doc! {"commandOfAServerToCome": 1},
        doc! {"findx": 1},
    ] {
        assert_eq!(judge(&policy, &body), READ_ONLY, "{body}");
    }
}

#[test]
fn what_is_denied_by_name_is_denied_in_every_form() {
    let aggregate = |stage: Document| doc! {"aggregate": "c", "pipeline": [stage]};
    let out = aggregate(doc! {"$out": "d"});
    let merge = aggregate(doc! {"$merge": {"into": "d"}});
    let table: &[(&[&str], Document, Result<(), Denied>)] = &[
        (&["findandmodify"], doc! {"findAndModify": "c"}, BY_NAME),
        (&["findAndModify"], doc! {"findandmodify": "c"}, BY_NAME),
        (&["dropIndexes"], doc! {"deleteIndexes": "c"}, BY_NAME),
        (&["deleteIndexes"], doc! {"dropIndexes": "c"}, BY_NAME),
        (&["isMaster"], doc! {"hello": 1}, BY_NAME),
        (&["find"], doc! {"clusterFind": "c"}, BY_NAME),
        (&["drop"], doc! {"explain": {"drop": "c"}}, BY_NAME),
        (&["drop"], doc! {"dropDatabase": 1}, OK),
        (&["explain"], doc! {"explain": {"find": "c"}}, BY_NAME),
        (&["insert"], out.clone(), BY_NAME),
        (&["delete"], out.clone(), BY_NAME),
        (&["update"], out.clone(), OK),
        (&["insert"], merge.clone(), BY_NAME),
        (&["update"], merge.clone(), BY_NAME),
        (&["delete"], merge.clone(), OK),
        (&["insert"], doc! {"explain": out.clone()}, BY_NAME),
        (&["find"], out, OK),
        (&["delete"], doc! {"mapReduce": "c", "out": "d"}, BY_NAME),
        (&["delete"], doc! {"mapReduce": "c", "out": {"inline": 1}}, OK),
        (&["update"], doc! {"bulkWrite": 1}, BY_NAME),
        (&["find"], doc! {"bulkWrite": 1}, OK),
        (&["update"], doc! {"findAndModify": "c", "update": {}}, BY_NAME),
        (&["delete"], doc! {"findAndModify": "c", "update": {}}, OK),
        (&["delete"], doc! {"findAndModify": "c", "remove": true}, BY_NAME),
        (&["delete"], doc! {"findAndModify": "c", "remove": 1}, BY_NAME),
        (&["update"], doc! {"findAndModify": "c", "remove": true}, OK),
        (&["drop"], doc! {"applyOps": []}, BY_NAME),
        (&["find"], doc! {"applyOps": []}, OK),
        (&["aCommandToCome"], doc! {"aCommandToCome": 1}, BY_NAME),
        (&["aCommandToCome"], doc! {"another": 1}, OK),
    ];
    for (denied, body, expected) in table {
        assert_eq!(judge(&denying(denied), body), *expected, "{denied:?}: {body}");
    }
}

#[test]
fn both_rules_hold_at_once() {
    let policy = Policy::new(&["find"], true).unwrap();
    assert_eq!(judge(&policy, &doc! {"find": "c"}), BY_NAME);
    assert_eq!(judge(&policy, &doc! {"insert": "c"}), READ_ONLY);
    assert_eq!(judge(&policy, &doc! {"count": "c"}), OK);
}

/// A document whose fields may have one name.
fn raw(fields: &[(&str, &Bson)]) -> Vec<u8> {
    let mut body = vec![0; 4];
    for (name, value) in fields {
        let one = doc! {*name: (*value).clone()}.to_vec().unwrap();
        body.extend_from_slice(&one[4..one.len() - 1]);
    }
    body.push(0);
    let length = body.len() as u32;
    body[..4].copy_from_slice(&length.to_le_bytes());
    body
}

#[test]
fn a_field_that_stands_twice_is_refused_wherever_that_could_hide_what_is_meant() {
    let (c, db) = (Bson::from("c"), Bson::from("shop"));
    let (empty, out) = (Bson::Array(vec![]), Bson::Array(vec![doc! {"$out": "d"}.into()]));
    for policy in [read_only(), denying(&["drop"])] {
        for fields in [
            &[
                ("aggregate", &c),
                ("pipeline", &empty),
                ("pipeline", &out),
                ("$db", &db),
            ][..],
            &[("find", &c), ("$db", &db), ("$db", &db)],
            &[("find", &c), ("find", &c), ("$db", &db)],
        ] {
            assert_eq!(judge_bytes(&policy, &raw(fields)), AMBIGUOUS, "{fields:?}");
        }
        let inner = raw(&[("aggregate", &c), ("pipeline", &empty), ("pipeline", &out)]);
        let mut body = raw(&[("$db", &db)]);
        let explain = [&[3][..], b"explain\0", &inner].concat();
        body.splice(4..4, explain);
        let length = body.len() as u32;
        body[..4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(judge_bytes(&policy, &body), AMBIGUOUS);
    }
    let many: Vec<String> = (0..100).map(|number| format!("f{number}")).collect();
    let mut fields: Vec<_> = many.iter().map(|name| (name.as_str(), &c)).collect();
    fields.extend([("$db", &db)]);
    fields[0].0 = "find";
    assert_eq!(judge_bytes(&read_only(), &raw(&fields)), OK);
    fields[50].0 = "f99";
    assert_eq!(judge_bytes(&read_only(), &raw(&fields)), AMBIGUOUS);
}

#[test]
fn explanations_of_explanations_are_not_followed_without_end() {
    let mut body = doc! {"find": "c"};
    for _ in 0..50 {
        body = doc! {"explain": body};
    }
    assert_eq!(judge(&read_only(), &body), AMBIGUOUS);
}

#[test]
fn names_of_rules_that_no_command_has_are_told() {
    for name in [
        "find",
        "findandmodify",
        "deleteIndexes",
        "fsync",
        "killOp",
        "FIND",
    ] {
        assert!(is_known(name), "{name}");
    }
    for name in ["", "fnid", "findAndModif", "clusterx"] {
        assert!(!is_known(name), "{name}");
    }
}

/// A name as somebody may write it who wants to pass.
fn spellings(name: &str) -> Vec<String> {
    let mut capital = name.to_owned();
    if let Some(first) = capital.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let mut all = vec![
        name.to_owned(),
        name.to_ascii_lowercase(),
        name.to_ascii_uppercase(),
    ];
    if capital.starts_with(|first: char| first.is_ascii_uppercase()) {
        all.push(format!("cluster{capital}"));
    }
    all
}

#[test]
fn a_denied_command_passes_in_none_of_its_spellings_nor_explained() {
    for name in names() {
        for rule in spellings(name) {
            let policy = denying(&[&rule]);
            for spelling in spellings(name) {
                let body = doc! {&spelling: 1};
                assert_eq!(judge(&policy, &body), BY_NAME, "{rule}: {spelling}");
                let explained = judge(&policy, &doc! {"explain": body});
                assert_eq!(explained, BY_NAME, "{rule}: explain {spelling}");
            }
        }
    }
}

#[test]
fn whoever_shares_a_name_shares_its_rule_and_nobody_else_does() {
    for name in names() {
        let policy = denying(&[name]);
        for other in names() {
            let passes = judge(&policy, &doc! {other: 1}).is_ok();
            let through_another = matches!(other, "applyOps" | "$eval" | "eval" | "bulkWrite")
                || matches!((name, other), ("update", "findAndModify" | "findandmodify"));
            assert!(
                passes != is(name.as_bytes(), other) || through_another,
                "{name}: {other}"
            );
        }
    }
}

proptest! {
    #[test]
    fn any_other_name_is_refused_by_a_read_only_listener(name in "[a-zA-Z_$]{1,20}") {
        prop_assume!(!is_known(&name));
        prop_assert_eq!(judge(&read_only(), &doc! {&name: 1}), READ_ONLY);
    }

    #[test]
    fn a_writing_stage_is_found_wherever_it_stands(
        before in 0usize..5, after in 0usize..5, merges in any::<bool>(), explained in any::<bool>(), extra in 0usize..20,
    ) {
        let reading = |_| Bson::from(doc! {"$match": {"a": 1}});
        let writing = doc! {if merges { "$merge" } else { "$out" }: "d"};
        let mut stages: Vec<Bson> = (0..before).map(reading).collect();
        stages.push(writing.into());
        stages.extend((0..after).map(reading));
        let mut body = doc! {"aggregate": "c"};
        for number in 0..extra {
            body.insert(format!("extra{number}"), 1);
        }
        body.insert("pipeline", stages);
        let body = if explained { doc! {"explain": body} } else { body };
        prop_assert_eq!(judge(&read_only(), &body), READ_ONLY);
        prop_assert_eq!(judge(&denying(&["insert"]), &body), BY_NAME);
        prop_assert_eq!(judge(&denying(&["find"]), &body), OK);
    }

    #[test]
    fn damaged_commands_are_judged_without_a_panic(at in 21usize..300, with in any::<u8>()) {
        let body = doc! {
            "explain": {"aggregate": "c", "pipeline": [{"$match": {"a": 1}}, {"$out": "x"}]}, "out": {"inline": 1}, "$db": "d",
        };
        let mut message = BytesMut::new();
        op_msg::encode(RawDoc::prefix(&body.to_vec().unwrap()).unwrap(), 1, 0, 0, &mut message);
        let at = 21 + at % (message.len() - 21);
        message[at] = with;
        if let Ok(layout) = Layout::parse(&message)
            && let Ok(request) = Request::peek(&message, layout) {
            let _ = read_only().judge(&request, &message);
        }
    }
}
