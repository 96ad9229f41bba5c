//! Queries over documents that Tidegate has made itself: those of the catalog.
//!
//! Plain equality on fields at the top level, and projections that name such fields, are simple enough to be judged here. All else
//! (operators, regular expressions, sorting) is left to a node, which takes the documents with the query (`$documents`, MongoDB
//! 5.1 and later), so that it means what it means everywhere.

use bson::{Bson, Document, doc};

use super::{integer, whole};
use crate::command::ErrorReply;

/// The first wire version (MongoDB 5.1) that has the stage `$documents`.
const DOCUMENTS: i32 = 14;

/// What an OP_QUERY asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// The filter.
    pub filter: Document,
    /// The sort order; empty if there is none.
    pub sort: Document,
    /// The fields that are wanted; empty for all.
    pub projection: Document,
    /// How many documents are left out first.
    pub skip: u64,
    /// The most documents that are wanted; 0 for all.
    pub limit: u64,
    /// How many documents of them the first batch may hold; 0 for any number.
    pub batch: u32,
}

/// How a selection is carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Selected {
    /// These are the documents.
    Here(Vec<Document>),
    /// A node must be asked.
    Ask(Document),
}

impl Selection {
    /// Reads the query document of an OP_QUERY, bare or wrapped (`$query` or `query`, `$orderby` or `orderby`), with the numbers
    /// that came along.
    #[must_use]
    pub fn of_query(query: Document, projection: Option<Document>, skip: i32, number_to_return: i32) -> Self {
        let mut query = query;
        let wrapper = query.keys().next().map(String::as_str);
        let (filter, sort) = match wrapper {
            Some(name @ ("$query" | "query")) if query.get_document(name).is_ok() => {
                let take = |query: &mut Document, names: [&str; 2]| {
                    let found = names.iter().find_map(|name| query.remove(name));
                    match found {
                        Some(Bson::Document(nested)) => nested,
                        _ => Document::new(),
                    }
                };
                let filter = take(&mut query, ["$query", "query"]);
                (filter, take(&mut query, ["$orderby", "orderby"]))
            }
            _ => (query, Document::new()),
        };
        // One document is a limit, more are a batch, unless the number is negative.
        let is_limit = number_to_return == 1 || number_to_return < 0;
        let limit = if is_limit {
            u64::from(number_to_return.unsigned_abs())
        } else {
            0
        };
        Self {
            filter,
            sort,
            projection: projection.unwrap_or_default(),
            skip: u64::try_from(skip).unwrap_or_default(),
            limit,
            batch: if is_limit {
                0
            } else {
                number_to_return.unsigned_abs()
            },
        }
    }

    /// Reads the query of a `count`.
    #[must_use]
    pub fn of_count(command: &Document) -> Self {
        let filter = match command.get("query") {
            Some(Bson::Document(query)) => query.clone(),
            _ => Document::new(),
        };
        let number = |name: &str| {
            command
                .get(name)
                .and_then(integer)
                .unwrap_or_default()
                .unsigned_abs()
        };
        Self {
            filter,
            skip: number("skip"),
            limit: number("limit"),
            ..Self::default()
        }
    }

    /// The only value that the filter accepts for `field`, if it is a string.
    #[must_use]
    pub fn only(&self, field: &str) -> Option<&str> {
        match self.filter.get(field) {
            Some(Bson::String(value)) => Some(value),
            _ => None,
        }
    }

    /// Carries the selection out, or says how a node of this wire version does it in `database`.
    ///
    /// # Errors
    /// When it is too much for this place and the nodes cannot do it.
    pub fn apply(
        &self,
        database: &str,
        documents: Vec<Document>,
        max_wire_version: i32,
    ) -> Result<Selected, ErrorReply> {
        let can_ask = max_wire_version >= DOCUMENTS;
        if self.is_simple() {
            let (selected, batch) = (self.here(&documents), self.batch as usize);
            // A cursor over what is left must be a node's.
            if batch == 0 || selected.len() <= batch || !can_ask {
                return Ok(Selected::Here(selected));
            }
        } else if !can_ask {
            return Err(ErrorReply::illegal_operation(
                "such a query on the catalog needs MongoDB 5.1 or later behind this proxy: ask for equal values only, or run \
                 listIndexes or listCollections",
            ));
        }
        Ok(Selected::Ask(self.aggregate(database, documents)))
    }

    fn is_simple(&self) -> bool {
        let plain = |(field, value): (&String, &Bson)| {
            let by_itself = matches!(
                value,
                Bson::String(_) | Bson::Boolean(_) | Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_)
            );
            by_itself && !field.starts_with('$') && !field.contains('.')
        };
        self.sort.is_empty() && self.filter.iter().all(plain) && self.projection_is_simple()
    }

    /// Whether the projection only names fields, and all of them either to have them or to leave them out.
    fn projection_is_simple(&self) -> bool {
        let mut others = self.projection.iter().filter(|(field, _)| *field != "_id");
        let first = others.next().map(|(_, value)| is_wanted(value));
        let named = |field: &String| !field.starts_with('$') && !field.contains('.');
        self.projection.keys().all(named)
            && self.projection.values().all(|value| is_wanted(value).is_some())
            && others.all(|(_, value)| Some(is_wanted(value)) == first)
    }

    fn here(&self, documents: &[Document]) -> Vec<Document> {
        let matching = documents.iter().filter(|document| {
            self.filter
                .iter()
                .all(|(field, wanted)| equals(document.get(field), wanted))
        });
        let limit = if self.limit == 0 { u64::MAX } else { self.limit };
        let most = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let selected = matching.skip(most(self.skip)).take(most(limit));
        selected.map(|document| self.project(document)).collect()
    }

    fn project(&self, document: &Document) -> Document {
        let mut others = self.projection.iter().filter(|(field, _)| *field != "_id");
        let includes = match others.next() {
            Some((_, value)) => is_wanted(value) == Some(true),
            None => self.projection.get("_id").and_then(is_wanted) == Some(true),
        };
        let keep = |field: &str| match self.projection.get(field).and_then(is_wanted) {
            Some(wanted) => wanted,
            None => !includes || field == "_id",
        };
        let kept = document.iter().filter(|(field, _)| keep(field));
        kept.map(|(field, value)| (field.clone(), value.clone()))
            .collect()
    }

    fn aggregate(&self, database: &str, documents: Vec<Document>) -> Document {
        let mut pipeline = vec![doc! { "$documents": { "$literal": documents } }];
        if !self.filter.is_empty() {
            pipeline.push(doc! { "$match": self.filter.clone() });
        }
        if !self.sort.is_empty() {
            pipeline.push(doc! { "$sort": self.sort.clone() });
        }
        for (stage, number) in [("$skip", self.skip), ("$limit", self.limit)] {
            if number > 0 {
                pipeline.push(doc! { stage: i64::try_from(number).unwrap_or(i64::MAX) });
            }
        }
        if !self.projection.is_empty() {
            pipeline.push(doc! { "$project": self.projection.clone() });
        }
        let cursor = match i32::try_from(self.batch) {
            Ok(size @ 1..) => doc! { "batchSize": size },
            _ => whole::cursor(),
        };
        doc! { "aggregate": 1, "pipeline": pipeline, "cursor": cursor, "$db": database }
    }
}

/// Whether a projection's value asks for the field; `None` if it asks for something else.
fn is_wanted(value: &Bson) -> Option<bool> {
    match value {
        Bson::Boolean(wanted) => Some(*wanted),
        other => integer(other).map(|number| number != 0),
    }
}

/// Equality as servers see it, of the types that are judged here: numbers of all types are compared by value, and an array matches
/// by any of its elements.
fn equals(value: Option<&Bson>, wanted: &Bson) -> bool {
    let number = |value: &Bson| match value {
        Bson::Int32(n) => Some(f64::from(*n)),
        Bson::Int64(n) => Some(*n as f64),
        Bson::Double(n) => Some(*n),
        _ => None,
    };
    let same = |value: &Bson| match (number(value), number(wanted)) {
        (Some(one), Some(other)) => one == other,
        _ => value == wanted,
    };
    match value {
        None => false,
        Some(Bson::Array(values)) => values.iter().any(same),
        Some(value) => same(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn indexes() -> Vec<Document> {
        vec![
            doc! {"v": 2, "key": {"_id": 1}, "name": "_id_", "ns": "d.a"},
            doc! {"v": 2, "key": {"x": 1}, "name": "x_1", "ns": "d.a", "unique": true},
            doc! {"v": 2, "key": {"_id": 1}, "name": "_id_", "ns": "d.b"},
        ]
    }

    fn names(selection: &Selection) -> Vec<String> {
        match selection.apply("d", indexes(), 8).unwrap() {
            Selected::Here(documents) => documents
                .iter()
                .map(|document| {
                    format!(
                        "{}.{}",
                        document.get_str("ns").unwrap(),
                        document.get_str("name").unwrap()
                    )
                })
                .collect(),
            Selected::Ask(command) => panic!("{command}"),
        }
    }

    #[test]
    fn queries_are_read_bare_and_wrapped() {
        let table = [
            (doc! {"ns": "d.a"}, doc! {"ns": "d.a"}, doc! {}),
            (
                doc! {"$query": {"ns": "d.a"}, "$orderby": {"name": 1}, "$hint": {}},
                doc! {"ns": "d.a"},
                doc! {"name": 1},
            ),
            (
                doc! {"query": {}, "orderby": {"name": -1}},
                doc! {},
                doc! {"name": -1},
            ),
            (doc! {"query": "x"}, doc! {"query": "x"}, doc! {}),
        ];
        for (query, filter, sort) in table {
            let selection = Selection::of_query(query, None, 0, 0);
            assert_eq!((selection.filter, selection.sort), (filter, sort));
        }
        for (number_to_return, limit) in [(0, 0), (1, 1), (2, 0), (-1, 1), (-3, 3), (i32::MIN, 1 << 31)] {
            let selection = Selection::of_query(doc! {}, None, -1, number_to_return);
            assert_eq!(
                (selection.limit, selection.skip),
                (limit, 0),
                "{number_to_return}"
            );
        }
    }

    #[test]
    fn equality_skip_and_limit_are_judged_here() {
        let by = |filter: Document, skip, number| Selection::of_query(filter, None, skip, number);
        let table = [
            (by(doc! {}, 0, 0), vec!["d.a._id_", "d.a.x_1", "d.b._id_"]),
            (by(doc! {"ns": "d.a"}, 0, 0), vec!["d.a._id_", "d.a.x_1"]),
            (by(doc! {"ns": "d.a", "v": 2.0}, 1, 0), vec!["d.a.x_1"]),
            (by(doc! {}, 1, -1), vec!["d.a.x_1"]),
            (by(doc! {"unique": true}, 0, 0), vec!["d.a.x_1"]),
            (by(doc! {"ns": "d.c"}, 0, 0), vec![]),
        ];
        for (selection, expected) in table {
            assert_eq!(names(&selection), expected, "{selection:?}");
        }
        let count =
            Selection::of_count(&doc! {"count": "system.indexes", "query": {"ns": "d.a"}, "limit": -1});
        assert_eq!(names(&count).len(), 1);
        assert_eq!(count.only("ns"), Some("d.a"));
    }

    #[test]
    fn a_batch_that_does_not_hold_all_is_a_nodes_cursor() {
        let selection = Selection::of_query(doc! {}, None, 0, 2);
        let Selected::Ask(command) = selection.apply("d", indexes(), 17).unwrap() else {
            panic!("{selection:?}");
        };
        assert_eq!(command.get_document("cursor").unwrap(), &doc! {"batchSize": 2});
        for (number, wire) in [(3, 17), (0, 17), (-2, 17), (2, 13)] {
            let selection = Selection::of_query(doc! {}, None, 0, number);
            let selected = selection.apply("d", indexes(), wire).unwrap();
            assert!(matches!(selected, Selected::Here(_)), "{number} {wire}");
        }
    }

    #[test]
    fn simple_projections_are_judged_here() {
        let table = [
            (doc! {"ns": 0}, vec!["v", "key", "name"]),
            (doc! {"name": 1, "_id": 0}, vec!["name"]),
            (doc! {"name": true, "ns": 1.0}, vec!["name", "ns"]),
            (doc! {"_id": 0}, vec!["v", "key", "name", "ns"]),
        ];
        for (projection, fields) in table {
            let selection = Selection::of_query(doc! {}, Some(projection.clone()), 0, 1);
            let Selected::Here(documents) = selection.apply("d", indexes(), 0).unwrap() else {
                panic!("{projection}");
            };
            assert_eq!(documents[0].keys().collect::<Vec<_>>(), fields, "{projection}");
        }
    }

    #[test]
    fn all_else_is_asked_of_a_node_that_can() {
        let regex = Bson::RegularExpression(bson::Regex {
            pattern: bson::raw::CString::try_from("^d".to_owned()).unwrap(),
            options: bson::raw::CString::try_from(String::new()).unwrap(),
        });
        for (query, projection) in [
            (doc! {"name": regex}, None),
            (doc! {"name": {"$ne": "x"}}, None),
            (doc! {"$or": [{}]}, None),
            (doc! {"key.x": 1}, None),
            (doc! {"x": Bson::Null}, None),
            (doc! {"$query": {}, "$orderby": {"name": 1}}, None),
            (doc! {}, Some(doc! {"key.x": 1})),
            (doc! {}, Some(doc! {"a": 1, "b": 0})),
        ] {
            let selection = Selection::of_query(query, projection, 2, -3);
            assert_eq!(
                selection.apply("d", indexes(), 13).unwrap_err().code(),
                20,
                "{selection:?}"
            );
            let Selected::Ask(command) = selection.apply("d", indexes(), 14).unwrap() else {
                panic!("{selection:?}");
            };
            let pipeline = command.get_array("pipeline").unwrap();
            let stages: Vec<_> = pipeline
                .iter()
                .flat_map(|stage| stage.as_document().unwrap().keys().cloned())
                .collect();
            assert_eq!(stages[0], "$documents");
            let numbers: Vec<_> = stages
                .iter()
                .filter(|s| *s == "$skip" || *s == "$limit")
                .collect();
            assert_eq!(numbers, ["$skip", "$limit"]);
        }
    }

    proptest! {
        #[test]
        fn odd_queries_never_panic(
            field in "\\$query|query|\\$orderby|ns|_id|[a.$]{0,3}", number in any::<i32>(), value in any::<f64>(),
        ) {
            let document = doc! {&field: {&field: value}, "ns": value};
            let selection = Selection::of_query(document.clone(), Some(doc! {field: value}), number, number);
            let _ = selection.apply("d", vec![document.clone()], 17);
            let _ = Selection::of_count(&doc! {"query": document, "limit": number, "skip": value}).apply("d", indexes(), 0);
        }
    }
}
