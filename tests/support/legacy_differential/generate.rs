//! Random steps: small worlds, so that writes meet documents and cursors meet writes, and every kind of mistake now and then.

use bson::{Bson, Document, doc};
use proptest::{
    prelude::{Just, Strategy, any},
    prop_oneof,
    sample::select,
    strategy::Union,
};

use super::steps::{
    Collection::{self, Bad, Capped, EmptyCapped, Missing, Plain, Small},
    Step, Which,
};
use crate::support::legacy_client::{AWAIT_DATA, EXHAUST, NO_CURSOR_TIMEOUT, PARTIAL, SLAVE_OK, TAILABLE};

const LONGEST: usize = 16;

/// What is left out, because the servers themselves differ in it.
pub(crate) const DIFFERENCES_OF_VERSIONS: &[&str] = &[
    "orders of filters by an indexed field: versions choose differently between the index and the order",
    "`$min` and `$max` without a hint: MongoDB 4.2 refuses them, Tidegate names the index as servers before 4.2 found it",
    "a read preference of no known mode: its code was 9, and is 2",
    "updates that enlarge a document of a capped collection, and deletes in one: MongoDB allows them since 5.0",
    "hints for a missing collection: since 4.4 an upsert that fails may have created it, and then they are judged",
    "flag bits that the protocol reserves, and left-over bytes: MongoDB 4.2 overlooks them, Tidegate refuses them",
];

/// Whole sequences; those that fail shrink to fewer and simpler steps.
pub(crate) fn sequences() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..LONGEST)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => get_last_error().prop_map(Step::Command),
        3 => insert(),
        5 => update(),
        2 => delete(),
        5 => query(),
        1 => tailable(),
        4 => get_more(),
        1 => proptest::collection::vec(which(), 1..3).prop_map(|which| Step::KillCursors { which }),
        3 => command().prop_map(Step::Command),
    ]
}

fn written() -> impl Strategy<Value = Collection> {
    prop_oneof![8 => Just(Plain), 3 => Just(Small), 1 => Just(Missing), 1 => Just(Bad)]
}

fn flags(known: &'static [i32]) -> impl Strategy<Value = i32> {
    select(known)
}

fn insert() -> impl Strategy<Value = Step> {
    let documents = proptest::collection::vec(document(), 1..4);
    let collection = prop_oneof![12 => written(), 1 => Just(Capped)];
    (collection, flags(&[0, 1]), documents).prop_map(|(collection, flags, documents)| Step::Insert {
        collection,
        flags,
        documents,
    })
}

fn update() -> impl Strategy<Value = Step> {
    let flags = flags(&[0, 1, 2, 3]);
    (written(), flags, filter(), change()).prop_map(|(collection, flags, selector, update)| Step::Update {
        collection,
        flags,
        selector,
        update,
    })
}

fn delete() -> impl Strategy<Value = Step> {
    (written(), flags(&[1, 0]), filter()).prop_map(|(collection, flags, selector)| Step::Delete {
        collection,
        flags,
        selector,
    })
}

fn query() -> impl Strategy<Value = Step> {
    let collection = prop_oneof![
        8 => Just(Plain),
        2 => Just(Small),
        1 => Just(Capped),
        1 => Just(Missing)
    ];
    let to_return = prop_oneof![
        6 => select(&[0, 1, -1, 2, 3, 4, 9, -2, -4][..]),
        1 => select(&[10, 100, -100, i32::MAX, -i32::MAX][..]),
    ];
    let skip = prop_oneof![4 => Just(0), 1 => 1..5i32, 1 => select(&[9, 100, -1][..])];
    let flags = flags(&[0, SLAVE_OK, SLAVE_OK | PARTIAL, NO_CURSOR_TIMEOUT, EXHAUST]);
    let fields = proptest::option::weighted(0.2, selector());
    let parts = (collection, flags, skip, to_return, wrapped(), fields);
    parts.prop_map(|(collection, flags, skip, to_return, mut query, fields)| {
        if collection == Missing {
            for of_an_index in ["$hint", "$min", "$max"] {
                query.remove(of_an_index);
            }
        }
        Step::Query {
            collection,
            flags,
            skip,
            to_return,
            query,
            fields,
        }
    })
}

fn tailable() -> impl Strategy<Value = Step> {
    let collection =
        prop_oneof![4 => Just(Capped), 1 => Just(EmptyCapped), 1 => Just(Plain), 1 => Just(Missing)];
    let flags = select(&[TAILABLE, TAILABLE | SLAVE_OK, AWAIT_DATA][..]);
    let query = prop_oneof![4 => Just(doc! {}), 1 => Just(doc! {"_id": 100})];
    let to_return = select(&[0, 2, 5, 1, -1, -2][..]);
    (collection, flags, to_return, query).prop_map(|(collection, flags, to_return, query)| Step::Query {
        collection,
        flags,
        skip: 0,
        to_return,
        query,
        fields: None,
    })
}

fn get_more() -> impl Strategy<Value = Step> {
    let collection = prop_oneof![12 => Just(Plain), 1 => Just(Small), 1 => Just(Missing)];
    let to_return = prop_oneof![12 => select(&[0, 1, 2, 3, 7, 100][..]), 1 => Just(-1)];
    (collection, which(), to_return).prop_map(|(collection, which, to_return)| Step::GetMore {
        collection,
        which,
        to_return,
    })
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![8 => (0..3usize).prop_map(Which::Opened), 1 => Just(Which::Unknown)]
}

fn id() -> impl Strategy<Value = Bson> {
    prop_oneof![8 => (0..14i32).prop_map(Bson::Int32), 1 => Just(Bson::Null), 1 => Just(Bson::Document(doc! {"z": 1}))]
}

fn value() -> impl Strategy<Value = Bson> {
    prop_oneof![
        6 => (0..4i32).prop_map(Bson::Int32),
        1 => Just(Bson::Int64(1 << 40)),
        1 => Just(Bson::Double(1.5)),
        2 => "[a-c]{0,2}".prop_map(Bson::String),
        1 => Just(Bson::Null),
        1 => any::<bool>().prop_map(Bson::Boolean),
        1 => Just(Bson::Array(vec![Bson::Int32(1), Bson::Int32(2)])),
        1 => Just(Bson::Document(doc! {"b": 1})),
    ]
}

fn document() -> impl Strategy<Value = Document> {
    prop_oneof![
        6 => (id(), value()).prop_map(|(id, x)| doc! {"_id": id, "x": x}),
        2 => (id(), value(), value()).prop_map(|(id, x, y)| doc! {"_id": id, "x": x, "y": y}),
        1 => value().prop_map(|x| doc! {"x": x}),
        // Not first, which a node makes it.
        1 => (id(), value()).prop_map(|(id, x)| doc! {"x": x, "_id": id}),
        1 => Just(doc! {"_id": [1]}),
    ]
}

fn filter() -> impl Strategy<Value = Document> {
    prop_oneof![
        6 => id().prop_map(|id| doc! {"_id": id}),
        3 => Just(doc! {}),
        3 => (0..14i32).prop_map(|n| doc! {"_id": {"$lt": n}}),
        3 => (0..4i32).prop_map(|n| doc! {"x": n}),
        1 => (0..4i32, value()).prop_map(|(n, y)| doc! {"x": n, "y": y}),
        1 => Just(doc! {"_id": {"$in": [1, 3, 50]}}),
        1 => Just(doc! {"$or": [{"_id": 2}, {"y": "a"}]}),
        1 => Just(doc! {"nothing": 1}),
        1 => Just(doc! {"$foo": 1}),
        1 => Just(doc! {"x": {"$foo": 1}}),
        1 => Just(doc! {"x": {"$in": 1}}),
    ]
}

fn change() -> impl Strategy<Value = Document> {
    prop_oneof![
        6 => value().prop_map(|x| doc! {"$set": {"x": x}}),
        2 => (-2..3i32).prop_map(|n| doc! {"$inc": {"n": n}}),
        2 => Just(doc! {"$inc": {"y": 1}}),
        1 => Just(doc! {"$push": {"a": 1}}),
        1 => Just(doc! {"$unset": {"x": 1}, "$set": {"q": 1, "p": 2}}),
        1 => Just(doc! {"$setOnInsert": {"s": 1}, "$set": {"t": 1}}),
        1 => Just(doc! {"$rename": {"x": "w"}}),
        3 => value().prop_map(|x| doc! {"x": x}),
        1 => (id(), value()).prop_map(|(id, x)| doc! {"_id": id, "x": x}),
        1 => id().prop_map(|id| doc! {"$set": {"_id": id}}),
        1 => Just(doc! {}),
        1 => Just(doc! {"$foo": {"x": 1}}),
        1 => Just(doc! {"$set": {"x": 1}, "y": 1}),
    ]
}

fn selector() -> impl Strategy<Value = Document> {
    select(vec![
        doc! {"x": 1},
        doc! {"_id": 0},
        doc! {"x": 0},
        doc! {"_id": 0, "x": true},
        doc! {"a": {"$slice": 1}},
        doc! {"a": {"$elemMatch": {"$gt": 1}}},
        doc! {},
        doc! {"x": 1, "y": 0},
    ])
}

/// A filter, or one in `$query` beside modifiers.
fn wrapped() -> impl Strategy<Value = Document> {
    let orders = [
        doc! {"_id": 1},
        doc! {"_id": -1},
        doc! {"x": 1, "_id": -1},
        doc! {"$natural": -1},
    ];
    let order = select(orders.to_vec());
    let names = ("(\\$)?query", "(\\$)?orderby");
    // By `_id`: which index serves a filter by `x` and an order, and so whether a full batch is known to be the last one, is the
    // version's choice.
    let by_id = prop_oneof![
        3 => Just(doc! {}),
        3 => (0..14i32).prop_map(|n| doc! {"_id": {"$lt": n}}),
        1 => id().prop_map(|id| doc! {"_id": id}),
        1 => Just(doc! {"nothing": 1}),
        1 => Just(doc! {"$foo": 1}),
    ];
    let ordered = (by_id, order, names)
        .prop_map(|(filter, order, (query, orderby))| doc! {query: filter, orderby: order});
    let modified = (filter(), proptest::collection::vec(modifier(), 1..3)).prop_map(|(filter, modifiers)| {
        let mut query = doc! {"$query": filter};
        query.extend(modifiers);
        query
    });
    let range = select(vec![
        doc! {"$min": {"x": 1}},
        doc! {"$max": {"x": 2}},
        doc! {"$min": {"x": 1}, "$max": {"x": 2}},
    ]);
    let bounded = (filter(), range).prop_map(|(filter, range)| {
        let mut query = doc! {"$query": filter, "$hint": {"x": 1}};
        query.extend(range);
        query
    });
    prop_oneof![12 => filter(), 4 => ordered, 4 => modified, 1 => bounded]
}

fn modifier() -> impl Strategy<Value = (String, Bson)> {
    let common = [
        ("$hint", Bson::from("x_1")),
        ("$hint", Bson::from(doc! {"_id": 1})),
        ("$hint", Bson::from(doc! {"$natural": 1})),
        ("$hint", Bson::from("no such index")),
        ("$snapshot", Bson::from(true)),
        ("$returnKey", Bson::from(true)),
        ("$showDiskLoc", Bson::from(true)),
        ("$comment", Bson::from("from a test")),
        ("$maxScan", Bson::from(5)),
        ("$maxTimeMS", Bson::from(60_000)),
        ("$maxTimeMS", Bson::from(60_000i64)),
        ("$maxTimeMS", Bson::from(-1)),
        ("$readPreference", Bson::from(doc! {"mode": "primaryPreferred"})),
        ("$explain", Bson::from(false)),
        ("$orderby", Bson::from(5)),
        ("$unheardOf", Bson::from(1)),
        ("other", Bson::from(1)),
    ];
    Union::new(
        common
            .into_iter()
            .map(|(name, value)| Just((name.to_owned(), value))),
    )
}

fn get_last_error() -> impl Strategy<Value = Document> {
    let name = select(&["getLastError", "getlasterror"][..]);
    let options = prop_oneof![
        10 => Just(doc! {}),
        2 => Just(doc! {"w": 1}),
        1 => Just(doc! {"w": 0}),
        2 => Just(doc! {"w": "majority", "wtimeout": 30_000}),
        2 => Just(doc! {"w": 2, "wtimeout": 10}),
        1 => Just(doc! {"w": "no such mode"}),
        1 => Just(doc! {"j": true}),
        1 => Just(doc! {"fsync": true}),
        1 => Just(doc! {"fsync": true, "j": true}),
        1 => Just(doc! {"w": 1, "unheardOf": 1}),
        1 => Just(doc! {"w": {"a": 1}}),
    ];
    (name, options).prop_map(|(name, options)| {
        let mut command = doc! {name: 1};
        command.extend(options);
        command
    })
}

fn command() -> impl Strategy<Value = Document> {
    let documents = proptest::collection::vec(document(), 1..3);
    let flag = any::<bool>;
    prop_oneof![
        1 => Just(doc! {"ping": 1}),
        1 => Just(doc! {"resetError": 1}),
        1 => Just(doc! {"unheardOf": 1}),
        1 => filter().prop_map(|query| doc! {"count": "plain", "query": query}),
        1 => filter().prop_map(|query| doc! {"distinct": "plain", "key": "_id", "query": query}),
        2 => (documents, flag()).prop_map(|(documents, ordered)| doc! {"insert": "plain", "documents": documents, "ordered": ordered}),
        2 => (filter(), change(), flag(), flag()).prop_map(|(q, u, multi, upsert)| {
            doc! {"update": "plain", "updates": [{"q": q, "u": u, "multi": multi, "upsert": upsert}]}
        }),
        1 => (filter(), 0..2i32).prop_map(|(q, limit)| doc! {"delete": "plain", "deletes": [{"q": q, "limit": limit}]}),
        1 => (filter(), document()).prop_map(|(q, u)| {
            doc! {"update": "plain", "updates": [{"q": q, "u": u}], "writeConcern": {"w": 0}}
        }),
        1 => (filter(), change(), flag()).prop_map(|(query, update, new)| {
            doc! {"findAndModify": "plain", "query": query, "sort": {"_id": 1}, "update": update, "new": new}
        }),
    ]
}
