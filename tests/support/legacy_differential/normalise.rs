//! What is made alike before two servers' answers are compared, and why.
//!
//! Everything else must be equal: flags, whether a cursor stays open, `startingFrom`, the number and order of documents,
//! their fields, the fields' order and types, and error codes.

use bson::{Bson, Document, Timestamp, doc, oid::ObjectId};

use super::{
    play::{Answer, Told},
    steps::Step,
};

/// One thing that is made alike.
pub(crate) struct Normalisation {
    pub(crate) what: &'static str,
    pub(crate) why: &'static str,
    apply: fn(&Step, &mut Told),
}

/// Codes that current servers have given to errors of old: the new one, the old one and its name, and what it is for.
const CODES: &[(i32, i32, &str, &str)] = &[
    (31254, 2, "BadValue", "a projection that includes and excludes"),
    (51024, 2, "BadValue", "a negative skip"),
    (53, 2, "BadValue", "an array as `_id`"),
];

/// All of them, in the order in which they are applied.
pub(crate) const NORMALISATIONS: &[Normalisation] = &[
    Normalisation {
        what: "`$clusterTime`, `operationTime` and `lastOp` are left out",
        why: "they differ from server to server and from moment to moment, and no driver of that age reads them",
        apply: |_, told| without(told, &["$clusterTime", "operationTime", "lastOp"]),
    },
    Normalisation {
        what: "of `opTime`, `electionId`, `connectionId`, `writtenTo` and the time that a write concern took only the type counts",
        why: "they name the moment, the connection and the nodes; `writtenTo` is null through the proxy, whose clients do not know the nodes",
        apply: |_, told| {
            let names = [
                "opTime",
                "electionId",
                "connectionId",
                "writtenTo",
                "syncMillis",
                "wtime",
                "waited",
            ];
            told.documents
                .iter_mut()
                .for_each(|document| blank(document, &names));
        },
    },
    Normalisation {
        what: "object ids that a server made are all the same",
        why: "they are made of the time and of chance",
        apply: |_, told| told.documents.iter_mut().for_each(same_object_ids),
    },
    Normalisation {
        what: "the texts of errors other than duplicate keys' are left out; their codes stay",
        why: "MongoDB has worded them anew since 4.2; drivers look at codes, and at the texts of duplicate keys",
        apply: |_, told| told.documents.iter_mut().for_each(without_texts),
    },
    Normalisation {
        what: "codes that MongoDB has changed since are the old ones (31254, 51024 and 53, which were 2)",
        why: "the server tells them, and they are more precise",
        apply: |_, told| told.documents.iter_mut().for_each(with_old_codes),
    },
    Normalisation {
        what: "`ok` in what a failed query or OP_GET_MORE tells is left out",
        why: "only failed queries had it; a driver sees the flag QueryFailure and `$err`",
        apply: |_, told| {
            let failures = told
                .documents
                .iter_mut()
                .filter(|document| document.contains_key("$err"));
            failures.for_each(|failure| drop(failure.remove("ok")));
        },
    },
    Normalisation {
        what: "the order of fields in the replies of commands other than getLastError does not count",
        why: "it is the server's, forwarded as it is; drivers read fields by name",
        apply: |step, told| {
            if matches!(step, Step::Command(command) if !is_get_last_error(command)) {
                told.documents.iter_mut().for_each(in_order);
            }
        },
    },
];

/// The answer to a step, made alike.
pub(crate) fn normalised(step: &Step, mut answer: Answer) -> Answer {
    if let Answer::Replies(replies) = &mut answer {
        for told in replies {
            NORMALISATIONS
                .iter()
                .for_each(|normalisation| (normalisation.apply)(step, told));
        }
    }
    answer
}

fn is_get_last_error(command: &Document) -> bool {
    command
        .keys()
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case("getLastError"))
}

fn without(told: &mut Told, names: &[&str]) {
    for document in &mut told.documents {
        for name in names {
            document.remove(name);
        }
    }
}

/// Values of the same types that say nothing.
fn blank(document: &mut Document, names: &[&str]) {
    for name in names {
        if let Some(value) = document.get_mut(name) {
            *value = match &*value {
                Bson::Int32(_) => Bson::Int32(0),
                Bson::Int64(_) => Bson::Int64(0),
                Bson::ObjectId(_) => Bson::ObjectId(ObjectId::from_bytes([0; 12])),
                Bson::Timestamp(_) => Bson::Timestamp(Timestamp {
                    time: 0,
                    increment: 0,
                }),
                Bson::Document(nested) => {
                    let mut nested = nested.clone();
                    blank(&mut nested, &["ts", "t"]);
                    Bson::Document(nested)
                }
                Bson::Array(_) => Bson::Null,
                other => other.clone(),
            };
        }
    }
}

fn same_object_ids(document: &mut Document) {
    document.iter_mut().for_each(|(_, value)| same_object_id(value));
}

fn same_object_id(value: &mut Bson) {
    match value {
        Bson::ObjectId(id) => *id = ObjectId::from_bytes([0; 12]),
        Bson::Document(nested) => same_object_ids(nested),
        Bson::Array(values) => values.iter_mut().for_each(same_object_id),
        _ => {}
    }
}

fn without_texts(document: &mut Document) {
    for name in ["err", "errmsg", "$err"] {
        if let Some(Bson::String(text)) = document.get_mut(name)
            && !text.starts_with("E11000")
        {
            "...".clone_into(text);
        }
    }
    for name in ["writeErrors", "writeConcernError"] {
        match document.get_mut(name) {
            Some(Bson::Array(errors)) => errors
                .iter_mut()
                .filter_map(Bson::as_document_mut)
                .for_each(without_texts),
            Some(Bson::Document(error)) => without_texts(error),
            _ => {}
        }
    }
}

fn with_old_codes(document: &mut Document) {
    let code = document.get_i32("code").unwrap_or_default();
    if let Some((_, old, name, _)) = CODES.iter().find(|(new, ..)| *new == code) {
        document.insert("code", *old);
        if document.contains_key("codeName") {
            document.insert("codeName", *name);
        }
    }
    if let Ok(errors) = document.get_array_mut("writeErrors") {
        errors
            .iter_mut()
            .filter_map(Bson::as_document_mut)
            .for_each(with_old_codes);
    }
}

fn in_order(document: &mut Document) {
    let mut fields: Vec<(String, Bson)> = std::mem::take(document).into_iter().collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    *document = doc! {};
    document.extend(fields);
}
