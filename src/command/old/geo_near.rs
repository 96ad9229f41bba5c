//! `geoNear` (servers until 4.0) as an aggregation that begins with the stage `$geoNear`.

use std::time::Duration;

use bson::{Bson, Document, doc};

use super::{carry, integer, whole};
use crate::command::ErrorReply;

/// The field that carries the distance through the pipeline; no document of an application has it.
const DISTANCE: &str = "tidegateGeoNearDistance";
/// The field that carries the place.
const PLACE: &str = "tidegateGeoNearPlace";
/// How many documents there are at most if the command does not say.
const DEFAULT_LIMIT: i64 = 100;
/// Options that the stage has under the same name.
const OPTIONS: [&str; 7] = [
    "near",
    "spherical",
    "query",
    "maxDistance",
    "minDistance",
    "distanceMultiplier",
    "key",
];

/// The `aggregate` that does what this `geoNear` does.
///
/// # Errors
/// When the collection or the place is missing, or the limit is negative.
pub fn to_aggregate(command: &Document) -> Result<Document, ErrorReply> {
    let invalid = |what: &str| ErrorReply::failed_to_parse(format!("geoNear: {what}"));
    let Some(Bson::String(collection)) = command.get("geoNear") else {
        return Err(invalid("its value must be the name of a collection"));
    };
    if !command.contains_key("near") {
        return Err(invalid("near is missing"));
    }
    let limit = ["num", "limit"]
        .iter()
        .find_map(|key| command.get(key).and_then(integer));
    let limit = match limit.unwrap_or(DEFAULT_LIMIT) {
        0 => DEFAULT_LIMIT,
        limit @ 1.. => limit,
        _ => return Err(invalid("limit must not be negative")),
    };
    let mut stage = doc! { "distanceField": DISTANCE };
    for key in OPTIONS {
        match command.get(key) {
            None | Some(Bson::Null) => {}
            // Servers took anything for true or false.
            Some(value) if key == "spherical" => {
                stage.insert(key, is_true(value));
            }
            Some(value) => {
                stage.insert(key, value.clone());
            }
        }
    }
    let mut result = doc! { "dis": format!("${DISTANCE}") };
    if command.get("includeLocs").is_some_and(is_true) {
        stage.insert("includeLocs", PLACE);
        result.insert("loc", format!("${PLACE}"));
    }
    result.insert("obj", "$$ROOT");
    let hidden = [DISTANCE, PLACE].map(|field| (format!("obj.{field}"), Bson::Int32(0)));
    let pipeline = vec![
        doc! { "$geoNear": stage },
        doc! { "$limit": limit },
        doc! { "$replaceRoot": { "newRoot": result } },
        doc! { "$project": Document::from_iter(hidden) },
    ];
    let mut aggregate = doc! { "aggregate": collection, "pipeline": pipeline, "cursor": whole::cursor() };
    carry(command, &mut aggregate);
    Ok(aggregate)
}

/// The reply of `geoNear` from what the aggregation gave in `time`. How many index entries and documents were looked at is not known,
/// and not said.
#[must_use]
pub fn to_reply(results: Vec<Document>, time: Duration) -> Document {
    let distances: Vec<f64> = results
        .iter()
        .filter_map(|result| result.get_f64("dis").ok())
        .collect();
    let average = if distances.is_empty() {
        0.0
    } else {
        distances.iter().sum::<f64>() / distances.len() as f64
    };
    let max = distances.iter().copied().fold(0.0, f64::max);
    let millis = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    let stats = doc! { "avgDistance": average, "maxDistance": max, "time": millis };
    doc! { "results": results, "stats": stats, "ok": 1.0 }
}

fn is_true(value: &Bson) -> bool {
    match value {
        Bson::Boolean(value) => *value,
        Bson::Double(value) => *value != 0.0,
        other => integer(other).is_none_or(|number| number != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stages(command: &Document) -> Vec<Document> {
        let aggregate = to_aggregate(command).unwrap();
        let pipeline = aggregate.get_array("pipeline").unwrap();
        pipeline
            .iter()
            .map(|stage| stage.as_document().unwrap().clone())
            .collect()
    }

    #[test]
    fn options_are_those_of_the_stage() {
        let command = doc! {
            "geoNear": "c", "near": [1, 2], "num": 5.0, "spherical": 1, "query": {"a": 1}, "maxDistance": 3.0,
            "uniqueDocs": true, "includeLocs": true, "distanceMultiplier": Bson::Null, "$db": "d",
        };
        let stages = stages(&command);
        assert_eq!(
            stages[0],
            doc! {"$geoNear": {
                "distanceField": DISTANCE, "near": [1, 2], "spherical": true, "query": {"a": 1}, "maxDistance": 3.0, "includeLocs": PLACE,
            }}
        );
        assert_eq!(stages[1], doc! {"$limit": 5_i64});
        let root = stages[2].get_document("$replaceRoot").unwrap();
        assert_eq!(
            root.get_document("newRoot").unwrap().keys().collect::<Vec<_>>(),
            ["dis", "loc", "obj"]
        );
    }

    #[test]
    fn a_limit_is_a_hundred_unless_it_says_otherwise() {
        for (limit, expected) in [
            (doc! {}, 100),
            (doc! {"num": 0}, 100),
            (doc! {"limit": 7}, 7),
            (doc! {"num": 3, "limit": 7}, 3),
        ] {
            let mut command = doc! {"geoNear": "c", "near": [1, 2], "$db": "d"};
            command.extend(limit);
            assert_eq!(stages(&command)[1], doc! {"$limit": expected as i64}, "{command}");
        }
        for command in [
            doc! {"geoNear": "c", "near": [1, 2], "num": -1},
            doc! {"geoNear": "c"},
            doc! {"geoNear": 1, "near": [1, 2]},
        ] {
            assert_eq!(to_aggregate(&command).unwrap_err().code(), 9, "{command}");
        }
    }

    #[test]
    fn the_reply_has_its_old_shape() {
        let results = vec![
            doc! {"dis": 1.0, "obj": {"_id": 1}},
            doc! {"dis": 3.0, "obj": {"_id": 2}},
        ];
        assert_eq!(
            to_reply(results.clone(), Duration::from_millis(4)),
            doc! {"results": results, "stats": {"avgDistance": 2.0, "maxDistance": 3.0, "time": 4}, "ok": 1.0}
        );
        let none = to_reply(Vec::new(), Duration::MAX);
        assert_eq!(
            none.get_document("stats")
                .unwrap()
                .get_f64("avgDistance")
                .unwrap(),
            0.0
        );
    }

    proptest! {
        #[test]
        fn odd_fields_never_panic(name in "geoNear|near|num|limit|spherical|includeLocs|query", value in any::<f64>()) {
            let mut command = doc! {"geoNear": "c", "near": [1, 2], "$db": "d"};
            command.insert(name, value);
            let _ = to_aggregate(&command);
            let _ = to_reply(vec![doc! {"dis": value}, doc! {}], Duration::ZERO);
        }
    }
}
