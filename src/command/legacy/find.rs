//! An OP_QUERY for documents as a `find` command, or as an `explain` of one.
//!
//! Source: the specification "Find, getMore and killCursors commands", "Mapping OP_QUERY behavior to the find command".

use bson::{RawDocumentBuf, raw::cstr, rawdoc};

use super::{javascript, message, raw, with_db};
use crate::wire::{
    Element, Frame, RawDoc, WireError,
    legacy::{AWAIT_DATA, NO_CURSOR_TIMEOUT, OPLOG_REPLAY, PARTIAL, Query, SECONDARY_OK, TAILABLE},
};

/// A query that is a command now.
#[derive(Debug)]
pub struct Find {
    /// The message.
    pub frame: Frame,
    /// It is an `explain`: its reply is the one document.
    pub explains: bool,
}

/// Why a query cannot be sent on: a `mongod` would refuse it, too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The query is no valid message.
    #[error("{0}")]
    Message(String),
    /// A modifier has a value that it cannot have. Code 2.
    #[error("{0}")]
    Modifier(&'static str),
    /// `numberToReturn` is the one number that has no absolute value. Code 2.
    #[error("bad numberToReturn value in query")]
    NumberToReturn,
}

impl From<WireError> for FindError {
    fn from(error: WireError) -> Self {
        Self::Message(error.to_string())
    }
}

impl FindError {
    /// The code and its name, as mongod 4.2 has them.
    #[must_use]
    pub fn code(&self) -> (i32, &'static str) {
        match self {
            Self::Message(_) => (22, "InvalidBSON"),
            Self::Modifier(_) | Self::NumberToReturn => (2, "BadValue"),
        }
    }
}

/// A query taken apart.
#[derive(Debug, Clone, Copy)]
struct Parts<'a> {
    filter: RawDoc<'a>,
    /// What stands beside the filter; `None` for a query without a wrapper.
    modifiers: Option<RawDoc<'a>>,
}

/// Finds the filter: in `query`, else in `$query`, if that is a document; else it is all there is.
fn parts(document: RawDoc<'_>) -> Result<Parts<'_>, WireError> {
    for name in ["query", "$query"] {
        let wrapped = document.get(name)?;
        if let Some(filter) = wrapped.and_then(|field| field.as_doc().or_else(|| field.as_array())) {
            return Ok(Parts {
                filter,
                modifiers: Some(document),
            });
        }
    }
    Ok(Parts {
        filter: document,
        modifiers: None,
    })
}

/// The filter of a query, without its wrapper.
///
/// # Errors
/// When the query cannot be walked.
pub fn filter(document: RawDoc<'_>) -> Result<RawDoc<'_>, WireError> {
    parts(document).map(|parts| parts.filter)
}

/// The command that means the same as `query`.
///
/// # Errors
/// When it cannot be walked, or a `mongod` would refuse what it says before it looks at the documents.
pub fn command(query: &Query<'_>) -> Result<Find, FindError> {
    let Parts { filter, modifiers } = parts(query.document)?;
    let plain = javascript::without_scopes(filter);
    let filter = plain
        .as_deref()
        .map(RawDoc::prefix)
        .transpose()?
        .unwrap_or(filter);
    let mut body = RawDocumentBuf::new();
    body.append(cstr!("find"), query.collection);
    body.append(cstr!("filter"), raw(filter)?);
    let mut said = Modifiers::default();
    for modifier in modifiers.into_iter().flatten() {
        said.take_in(&modifier?, &mut body)?;
    }
    said.append_index(&mut body)?;
    if let Some(selector) = query.selector.filter(|selector| selector.bytes().len() > 5) {
        body.append(cstr!("projection"), raw(selector)?);
    }
    append_numbers(query, &mut body)?;
    for (flag, name) in [
        (TAILABLE, cstr!("tailable")),
        (AWAIT_DATA, cstr!("awaitData")),
        (OPLOG_REPLAY, cstr!("oplogReplay")),
        (NO_CURSOR_TIMEOUT, cstr!("noCursorTimeout")),
        (PARTIAL, cstr!("allowPartialResults")),
    ] {
        if query.has(flag) {
            body.append(name, true);
        }
    }
    if said.explain {
        let mut explain = rawdoc! { "explain": body, "verbosity": "allPlansExecution" };
        said.append_preference(query, &mut explain)?;
        return Ok(Find {
            frame: message(&with_db(explain, query.database))?,
            explains: true,
        });
    }
    said.append_preference(query, &mut body)?;
    Ok(Find {
        frame: message(&with_db(body, query.database))?,
        explains: false,
    })
}

/// `numberToSkip` and `numberToReturn`: a negative number, and 1, are limits and leave no cursor open.
fn append_numbers(query: &Query<'_>, body: &mut RawDocumentBuf) -> Result<(), FindError> {
    if query.number_to_skip != 0 {
        body.append(cstr!("skip"), query.number_to_skip);
    }
    match query.number_to_return {
        0 => {}
        i32::MIN => return Err(FindError::NumberToReturn),
        wanted if wanted <= 1 => {
            body.append(cstr!("limit"), wanted.abs());
            body.append(cstr!("singleBatch"), true);
        }
        wanted => body.append(cstr!("batchSize"), wanted),
    }
    Ok(())
}

/// What modifiers say besides what goes into the command at once.
#[derive(Debug, Default)]
struct Modifiers<'a> {
    explain: bool,
    hinted: bool,
    /// `$min` or `$max`, which have the same keys.
    bound: Option<RawDoc<'a>>,
    read_preference: Option<RawDoc<'a>>,
}

impl<'a> Modifiers<'a> {
    /// Takes up one modifier. Those that no server has any more (`$snapshot`, `$maxScan`), and those that none ever had, say
    /// nothing, as mongod 4.2 has it.
    fn take_in(&mut self, modifier: &Element<'a>, body: &mut RawDocumentBuf) -> Result<(), FindError> {
        match modifier.key {
            b"$orderby" | b"orderby" => append_sort(modifier, body)?,
            b"$hint" => {
                append_hint(modifier, body)?;
                self.hinted = true;
            }
            b"$min" => {
                let bound = document(modifier, "$min must be a BSONObj")?;
                body.append(cstr!("min"), raw(bound)?);
                self.bound = Some(bound);
            }
            b"$max" => {
                let bound = document(modifier, "$max must be a BSONObj")?;
                body.append(cstr!("max"), raw(bound)?);
                self.bound = Some(bound);
            }
            b"$returnKey" if is_true(modifier) => body.append(cstr!("returnKey"), true),
            b"$showDiskLoc" if is_true(modifier) => body.append(cstr!("showRecordId"), true),
            b"$comment" => {
                if let Some(comment) = modifier.as_str() {
                    body.append(cstr!("comment"), comment);
                }
            }
            b"$maxTimeMS" => append_max_time(modifier, body)?,
            b"$explain" => self.explain = is_true(modifier),
            b"$readPreference" => self.read_preference = modifier.as_doc(),
            _ => {}
        }
        Ok(())
    }

    /// Names the index that `$min` and `$max` mean, if the client did not: servers before 4.2 found it by its keys.
    fn append_index(&self, body: &mut RawDocumentBuf) -> Result<(), FindError> {
        let Some(bound) = self.bound.filter(|_| !self.hinted) else {
            return Ok(());
        };
        let mut keys = RawDocumentBuf::new();
        for field in raw(bound)?.iter() {
            let (name, _) = field.map_err(|_| FindError::Modifier("$min and $max must be valid"))?;
            keys.append(name, 1);
        }
        body.append(cstr!("hint"), keys);
        Ok(())
    }

    /// Adds the client's read preference; the bit `slaveOk` stands for one.
    fn append_preference(&self, query: &Query<'_>, body: &mut RawDocumentBuf) -> Result<(), FindError> {
        if let Some(preference) = self.read_preference {
            body.append(cstr!("$readPreference"), raw(preference)?);
        } else if query.has(SECONDARY_OK) {
            body.append(cstr!("$readPreference"), rawdoc! { "mode": "secondaryPreferred" });
        }
        Ok(())
    }
}

fn append_sort(modifier: &Element<'_>, body: &mut RawDocumentBuf) -> Result<(), FindError> {
    const WRONG: FindError = FindError::Modifier("$orderby must be object or array");
    if let Some(sort) = modifier.as_doc() {
        body.append(cstr!("sort"), raw(sort)?);
        return Ok(());
    }
    // Some drivers of old kept the order of the keys by an array of documents.
    let keys = modifier.as_array().ok_or(WRONG)?;
    let mut sort = RawDocumentBuf::new();
    for key in keys {
        let Some(key) = key?.as_doc() else {
            return Err(WRONG);
        };
        for field in raw(key)?.iter() {
            let (name, direction) = field.map_err(|_| WRONG)?;
            sort.append(name, direction);
        }
    }
    body.append(cstr!("sort"), sort);
    Ok(())
}

fn append_hint(modifier: &Element<'_>, body: &mut RawDocumentBuf) -> Result<(), FindError> {
    if let Some(index) = modifier.as_str() {
        body.append(cstr!("hint"), index);
    } else {
        let keys = document(modifier, "$hint must be either a string or nested object")?;
        body.append(cstr!("hint"), raw(keys)?);
    }
    Ok(())
}

fn append_max_time(modifier: &Element<'_>, body: &mut RawDocumentBuf) -> Result<(), FindError> {
    match modifier.as_i64().map(i32::try_from) {
        Some(Ok(millis)) if millis >= 0 => body.append(cstr!("maxTimeMS"), millis),
        Some(_) => return Err(FindError::Modifier("$maxTimeMS value is out of range")),
        None => return Err(FindError::Modifier("$maxTimeMS must be a number")),
    }
    Ok(())
}

fn document<'a>(modifier: &Element<'a>, otherwise: &'static str) -> Result<RawDoc<'a>, FindError> {
    modifier.as_doc().ok_or(FindError::Modifier(otherwise))
}

/// Whether a value counts as true: everything but false, zero and null.
fn is_true(value: &Element<'_>) -> bool {
    match value.kind {
        0x0a | 0x06 => false,
        _ => value.as_bool().unwrap_or(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::op_msg;
    use bson::{Document, doc};
    use proptest::prelude::*;

    fn query(flags: u32, numbers: (i32, i32), document: &Document, selector: Option<&Document>) -> Vec<u8> {
        let mut payload = flags.to_le_bytes().to_vec();
        payload.extend(b"shop.tides.low\0");
        payload.extend(numbers.0.to_le_bytes());
        payload.extend(numbers.1.to_le_bytes());
        payload.extend(document.to_vec().unwrap());
        payload.extend(selector.map(|s| s.to_vec().unwrap()).unwrap_or_default());
        payload
    }

    fn body(find: &Find) -> Document {
        let bytes = find.frame.bytes();
        let body = op_msg::Layout::parse(bytes).unwrap().body(bytes).unwrap();
        Document::from_reader(body.bytes()).unwrap()
    }

    fn translated(flags: u32, numbers: (i32, i32), document: &Document) -> Document {
        let payload = query(flags, numbers, document, None);
        body(&command(&Query::parse(&payload).unwrap()).unwrap())
    }

    /// A `find` of everything, with these fields.
    fn find(fields: Document) -> Document {
        let mut find = doc! {"find": "tides.low", "filter": {}};
        find.extend(fields);
        find.insert("$db", "shop");
        find
    }

    #[test]
    fn numbers_and_flags_become_options() {
        let table = [
            (0, (0, 0), doc! {}),
            (0, (3, 5), doc! {"skip": 3, "batchSize": 5}),
            (0, (0, 1), doc! {"limit": 1, "singleBatch": true}),
            (0, (0, -1), doc! {"limit": 1, "singleBatch": true}),
            (0, (0, -7), doc! {"limit": 7, "singleBatch": true}),
            (
                TAILABLE | AWAIT_DATA,
                (0, 2),
                doc! {"batchSize": 2, "tailable": true, "awaitData": true},
            ),
            (
                OPLOG_REPLAY | NO_CURSOR_TIMEOUT | PARTIAL,
                (0, 0),
                doc! {"oplogReplay": true, "noCursorTimeout": true, "allowPartialResults": true},
            ),
            (
                SECONDARY_OK,
                (0, 0),
                doc! {"$readPreference": {"mode": "secondaryPreferred"}},
            ),
        ];
        for (flags, numbers, fields) in table {
            assert_eq!(
                translated(flags, numbers, &doc! {}),
                find(fields),
                "{flags:#x} {numbers:?}"
            );
        }
        let payload = query(0, (0, i32::MIN), &doc! {}, None);
        let error = command(&Query::parse(&payload).unwrap()).unwrap_err();
        assert_eq!(error.code(), (2, "BadValue"));
    }

    #[test]
    fn modifiers_become_options() {
        let table = [
            (
                doc! {"$orderby": {"a": 1, "b": -1}},
                doc! {"sort": {"a": 1, "b": -1}},
            ),
            (
                doc! {"orderby": [{"b": 1}, {"a": -1}]},
                doc! {"sort": {"b": 1, "a": -1}},
            ),
            (doc! {"$hint": "a_1"}, doc! {"hint": "a_1"}),
            (doc! {"$hint": {"a": 1}}, doc! {"hint": {"a": 1}}),
            (
                doc! {"$min": {"a": 1}, "$max": {"a": 5}},
                doc! {"min": {"a": 1}, "max": {"a": 5}, "hint": {"a": 1}},
            ),
            (
                doc! {"$returnKey": 1, "$showDiskLoc": true},
                doc! {"returnKey": true, "showRecordId": true},
            ),
            (doc! {"$returnKey": false, "$showDiskLoc": 0}, doc! {}),
            (
                doc! {"$comment": "why", "$maxTimeMS": 50.0},
                doc! {"comment": "why", "maxTimeMS": 50},
            ),
            (
                doc! {"$snapshot": true, "$maxScan": 5, "$unheard": 1, "beside": 2},
                doc! {},
            ),
            (
                doc! {"$readPreference": {"mode": "nearest"}},
                doc! {"$readPreference": {"mode": "nearest"}},
            ),
        ];
        for (modifiers, fields) in table {
            for name in ["$query", "query"] {
                let mut wrapped = doc! {name: {}};
                wrapped.extend(modifiers.clone());
                assert_eq!(translated(0, (0, 0), &wrapped), find(fields.clone()), "{wrapped}");
            }
        }
    }

    #[test]
    fn a_filter_without_a_wrapper_is_left_alone() {
        let filter = doc! {"a": {"$gt": 1}, "query": 5};
        assert_eq!(
            translated(0, (0, 0), &filter).get_document("filter").ok(),
            Some(&filter)
        );
        let payload = query(0, (0, 0), &filter, Some(&doc! {"a": 1}));
        let find = body(&command(&Query::parse(&payload).unwrap()).unwrap());
        assert_eq!(find.get_document("projection").ok(), Some(&doc! {"a": 1}));
        let payload = query(0, (0, 0), &filter, Some(&doc! {}));
        let find = body(&command(&Query::parse(&payload).unwrap()).unwrap());
        assert!(
            !find.contains_key("projection"),
            "an empty selector selects everything"
        );
    }

    #[test]
    fn an_explain_wraps_the_find() {
        let wrapped = doc! {"$query": {"a": 1}, "$explain": true};
        let payload = query(SECONDARY_OK, (0, -3), &wrapped, None);
        let explain = command(&Query::parse(&payload).unwrap()).unwrap();
        assert!(explain.explains);
        let find = doc! {"find": "tides.low", "filter": {"a": 1}, "limit": 3, "singleBatch": true};
        let preference = doc! {"mode": "secondaryPreferred"};
        assert_eq!(
            body(&explain),
            doc! {"explain": find, "verbosity": "allPlansExecution", "$readPreference": preference, "$db": "shop"}
        );
    }

    #[test]
    fn modifiers_of_a_wrong_type_are_refused() {
        for modifier in [
            doc! {"$orderby": 1},
            doc! {"$orderby": [1]},
            doc! {"$hint": 5},
            doc! {"$min": 1},
            doc! {"$max": "x"},
            doc! {"$maxTimeMS": "x"},
            doc! {"$maxTimeMS": -1},
        ] {
            let mut wrapped = doc! {"$query": {}};
            wrapped.extend(modifier);
            let payload = query(0, (0, 0), &wrapped, None);
            let error = command(&Query::parse(&payload).unwrap()).unwrap_err();
            assert!(matches!(error, FindError::Modifier(_)), "{wrapped}: {error}");
        }
    }

    proptest! {
        #[test]
        fn damaged_queries_never_panic(at in 0usize..200, with in any::<u8>()) {
            let wrapped = doc! {
                "$query": {"a": 1}, "$orderby": [{"b": 1}], "$hint": "a_1", "$min": {"a": 1}, "$maxTimeMS": 5,
                "$readPreference": {"mode": "nearest"}, "$explain": 1,
            };
            let mut payload = query(4, (0, 5), &wrapped, Some(&doc! {"a": 1}));
            let at = at % payload.len();
            payload[at] = with;
            if let Ok(query) = Query::parse(&payload) {
                let _ = command(&query);
            }
        }
    }
}
