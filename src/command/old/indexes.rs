//! Index specifications as old drivers send them, in `createIndexes` and as documents inserted into `system.indexes`.
//!
//! Servers before 3.4 kept whatever stood in a specification, so drivers put their own options there; newer ones refuse them.

use bson::{Bson, Document, RawDocumentBuf, doc};

use crate::{command::ErrorReply, wire::RawDoc};

/// Options of drivers, not of indexes; the namespace, which the command says; and what no server does any more.
const NOT_OF_INDEXES: [&str; 20] = [
    "ns",
    "w",
    "j",
    "wtimeout",
    "fsync",
    "safe",
    "journal",
    "version",
    "dropDups",
    "drop_dups",
    "cache",
    "bucket_size",
    "readPreference",
    "serializeFunctions",
    "checkKeys",
    "upsert",
    "continueOnError",
    "keepGoing",
    "raw",
    "_id",
];
/// Options that may be null where they are not meant.
const OPTIONAL: [&str; 9] = [
    "unique",
    "sparse",
    "background",
    "expireAfterSeconds",
    "min",
    "max",
    "bits",
    "bucketSize",
    "v",
];

/// The specification as a current server takes it. `background` stays: servers accept and list it, and build all indexes alike.
#[must_use]
pub fn repair(specification: &Document) -> Document {
    let is_haystack = match specification.get("key") {
        Some(Bson::Document(key)) => key.values().any(|kind| kind.as_str() == Some("geoHaystack")),
        _ => false,
    };
    let mut repaired = Document::new();
    for (name, value) in specification {
        let null = *value == Bson::Null && OPTIONAL.contains(&name.as_str());
        // Indexes of version 0 were MongoDB 1.8's; the server chooses.
        let version_0 = name == "v" && super::integer(value) == Some(0);
        // Of indexes that no server since 5.0 has; drivers send it with others, too.
        let bucket = name == "bucketSize" && !is_haystack;
        if NOT_OF_INDEXES.contains(&name.as_str()) || null || version_0 || bucket {
            continue;
        }
        let value = match value {
            Bson::Document(key) if name == "key" => Bson::Document(repair_key(key)),
            other => other.clone(),
        };
        repaired.insert(name, value);
    }
    repaired
}

/// What was neither a negative number nor the name of a kind of index meant "ascending".
fn repair_key(key: &Document) -> Document {
    let direction = |value: &Bson| match value {
        Bson::Boolean(_) | Bson::Null => Bson::Int32(1),
        other if super::integer(other) == Some(0) => match other {
            Bson::Double(fraction) if *fraction != 0.0 => other.clone(),
            _ => Bson::Int32(1),
        },
        other => other.clone(),
    };
    key.iter()
        .map(|(field, value)| (field.clone(), direction(value)))
        .collect()
}

/// The `createIndexes` commands that documents inserted into `database.system.indexes` (one behind the other in `documents`) ask for, in
/// order, each with the name of its collection; neighbours for the same collection go together.
///
/// # Errors
/// When a document does not say for which collection of this database it is, or cannot be decoded.
pub fn from_insert(
    database: &str,
    mut documents: &[u8],
) -> Result<Vec<(String, RawDocumentBuf)>, ErrorReply> {
    let mut commands: Vec<(String, Vec<Document>)> = Vec::new();
    while !documents.is_empty() {
        let raw = RawDoc::prefix(documents).map_err(|error| ErrorReply::invalid_message(&error))?;
        documents = &documents[raw.bytes().len()..];
        let document = super::decode(raw)?;
        let collection = match document.get("ns") {
            Some(Bson::String(ns)) => ns.strip_prefix(database).and_then(|rest| rest.strip_prefix('.')),
            _ => None,
        };
        let Some(collection) = collection.filter(|name| !name.is_empty()) else {
            return Err(ErrorReply::cannot_create_index(format!(
                "an index inserted into {database}.system.indexes needs the field ns with a collection of {database}"
            )));
        };
        let specification = repair(&document);
        match commands.last_mut() {
            Some((last, specifications)) if last == collection => specifications.push(specification),
            _ => commands.push((collection.to_owned(), vec![specification])),
        }
    }
    let command = |(collection, indexes): (String, Vec<Document>)| {
        let command = doc! { "createIndexes": &collection, "indexes": indexes, "$db": database };
        let raw = RawDocumentBuf::try_from(&command)
            .map_err(|_| ErrorReply::cannot_create_index("an index cannot be encoded"))?;
        Ok((collection, raw))
    };
    commands.into_iter().map(command).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(documents: &[Document]) -> Vec<u8> {
        documents
            .iter()
            .flat_map(|document| document.to_vec().unwrap())
            .collect()
    }

    #[test]
    fn options_of_drivers_and_of_old_servers_are_left_out() {
        let table = [
            (
                doc! {"ns": "d.c", "key": {"a": 1}, "name": "a_1", "unique": true, "background": true},
                doc! {"key": {"a": 1}, "name": "a_1", "unique": true, "background": true},
            ),
            (
                doc! {"v": 0, "key": {"a": 1}, "name": "a_1", "w": 1, "safe": true, "dropDups": true, "unique": Bson::Null},
                doc! {"key": {"a": 1}, "name": "a_1"},
            ),
            (
                doc! {"v": 1, "key": {"a": -1.0, "b": "2d"}, "name": "x", "bits": 26},
                doc! {"v": 1, "key": {"a": -1.0, "b": "2d"}, "name": "x", "bits": 26},
            ),
            (
                doc! {"key": {"a": true, "b": 0, "c": Bson::Null, "d": 0.5, "e": -1_i64}},
                doc! {"key": {"a": 1, "b": 1, "c": 1, "d": 0.5, "e": -1_i64}},
            ),
            (doc! {"key": {"a": 1}, "bucketSize": 3}, doc! {"key": {"a": 1}}),
            (
                doc! {"key": {"a": "geoHaystack"}, "bucketSize": 3},
                doc! {"key": {"a": "geoHaystack"}, "bucketSize": 3},
            ),
            (
                doc! {"key": {"a": 1}, "name": "a_1", "mistake": 1},
                doc! {"key": {"a": 1}, "name": "a_1", "mistake": 1},
            ),
        ];
        for (old, new) in table {
            assert_eq!(repair(&old), new, "{old}");
        }
    }

    #[test]
    fn inserts_become_commands_in_order() {
        let index = |ns: &str, name: &str| doc! {"ns": ns, "key": {"a": 1}, "name": name};
        let inserts = [
            index("d.a", "1"),
            index("d.a", "2"),
            index("d.b.c", "3"),
            index("d.a", "4"),
        ];
        let bare = |name: &str| doc! {"key": {"a": 1}, "name": name};
        let commands = from_insert("d", &bytes(&inserts)).unwrap();
        let collections: Vec<_> = commands.iter().map(|(collection, _)| collection).collect();
        assert_eq!(collections, ["a", "b.c", "a"]);
        let commands = commands
            .iter()
            .map(|(_, command)| Document::try_from(&**command).unwrap());
        assert_eq!(
            commands.collect::<Vec<_>>(),
            [
                doc! {"createIndexes": "a", "indexes": [bare("1"), bare("2")], "$db": "d"},
                doc! {"createIndexes": "b.c", "indexes": [bare("3")], "$db": "d"},
                doc! {"createIndexes": "a", "indexes": [bare("4")], "$db": "d"},
            ]
        );
    }

    #[test]
    fn an_index_of_nowhere_or_elsewhere_is_refused() {
        for document in [
            doc! {"key": {"a": 1}},
            doc! {"ns": "e.c"},
            doc! {"ns": "d."},
            doc! {"ns": "dd.c"},
            doc! {"ns": 1},
        ] {
            let error = from_insert("d", &bytes(&[document])).unwrap_err();
            assert_eq!(error.code(), 67);
        }
    }

    proptest! {
        #[test]
        fn odd_specifications_never_panic(ns in "[d.a]{0,4}", name in "v|key|ns|w|[a-z]{0,3}", value in any::<f64>()) {
            let document = doc! {"ns": ns, "key": {&name: value}, &name: value};
            let _ = repair(&document);
            let _ = from_insert("d", &bytes(&[document]));
        }

        #[test]
        fn damaged_inserts_never_panic(at in 0usize..100, with in any::<u8>()) {
            let mut inserts = bytes(&[doc! {"ns": "d.a", "key": {"a": 1}, "name": "a_1"}, doc! {"ns": "d.b"}]);
            let at = at % inserts.len();
            inserts[at] = with;
            let _ = from_insert("d", &inserts);
        }
    }
}
