//! What `getLastError` tells: the outcome of a connection's last operation, as mongod 4.2 kept it.

use bson::{RawBson, RawDocument, RawDocumentBuf, Timestamp, raw::cstr};

use super::{Concern, concern::BadConcern};
use crate::{
    command::Write,
    wire::{Element, RawDoc, WireError},
};

/// WriteConcernFailed: the members did not have the write in time.
const TIMED_OUT: i32 = 64;
/// UnsatisfiableWriteConcern.
const UNSATISFIABLE: i32 = 100;

/// An error of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its code.
    pub code: i32,
    /// The code's name; made up from the code where the server told none.
    pub code_name: String,
    /// Its message.
    pub message: String,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Outcome {
    /// Well, and there is nothing to tell; so ends an insert.
    #[default]
    Done,
    /// An update.
    Updated {
        /// A document was there already.
        existing: bool,
        /// The `_id` of the document that was inserted.
        upserted: Option<RawBson>,
        /// Documents that matched or were inserted.
        n: i64,
    },
    /// Documents were deleted.
    Deleted {
        /// How many.
        n: i64,
    },
    /// With an error.
    Failed(Failure),
}

/// What one connection's `getLastError` and its like know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LastError {
    outcome: Outcome,
    /// The place of the last write in the oplog: its time and term.
    last_op: Option<(Timestamp, i64)>,
    /// Where the last write went; `None` while there was none.
    wrote: Option<(String, String)>,
    /// The write concern that went along with it.
    sent: Concern,
    /// Why that one does not hold.
    unmet: Option<Failure>,
    /// Whether that was told: who asks again wants to know whether it holds by now.
    told_unmet: bool,
    /// The last failure, and how many operations ago that was.
    previous: Option<(Failure, i32)>,
    /// What the last `getLastError` asked for.
    seen: Option<Concern>,
}

impl LastError {
    /// Takes up the reply to a write of one statement (of several the totals stand for the last one).
    ///
    /// # Errors
    /// When the reply cannot be walked.
    pub fn note_write(
        &mut self,
        kind: Write,
        reply: RawDoc<'_>,
        namespace: (&str, &str),
        sent: &Concern,
    ) -> Result<(), WireError> {
        let seen = WriteReply::read(reply)?;
        self.last_op = seen.op_time.or(self.last_op);
        self.unmet = seen.unmet;
        self.told_unmet = false;
        self.sent = sent.clone();
        let (database, collection) = namespace;
        // One that was refused before it came to the oplog, such as for its collection's name, leaves nothing to wait for.
        let reached_oplog = seen.op_time.is_some() || seen.failure.is_none();
        if reached_oplog
            && self
                .wrote
                .as_ref()
                .is_none_or(|(d, c)| d != database || c != collection)
        {
            self.wrote = Some((database.to_owned(), collection.to_owned()));
        }
        self.note(match (seen.failure, kind) {
            (Some(failure), _) => Outcome::Failed(failure),
            (None, Write::Update) => Outcome::Updated {
                existing: seen.upserted.is_none() && seen.n > 0,
                upserted: seen.upserted,
                n: seen.n,
            },
            (None, Write::Delete) => Outcome::Deleted { n: seen.n },
            (None, _) => Outcome::Done,
        });
        Ok(())
    }

    /// Takes up the reply to any other command.
    ///
    /// # Errors
    /// When the reply cannot be walked.
    pub fn note_command(&mut self, reply: RawDoc<'_>) -> Result<(), WireError> {
        let failure = WriteReply::read(reply)?.failure;
        self.note(failure.map_or(Outcome::Done, Outcome::Failed));
        Ok(())
    }

    /// Takes up how an operation ended.
    pub fn note(&mut self, outcome: Outcome) {
        self.previous = match (&outcome, self.previous.take()) {
            (Outcome::Failed(failure), _) => Some((failure.clone(), 1)),
            (_, previous) => previous.map(|(failure, ago)| (failure, ago.saturating_add(1))),
        };
        self.outcome = outcome;
    }

    /// Whether the last operation failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }

    /// Forgets all outcomes (`resetError`).
    pub fn reset(&mut self) {
        self.outcome = Outcome::Done;
        self.unmet = None;
        self.previous = None;
    }

    /// The write concern for the next write, if no `getLastError` is known that belongs to it.
    #[must_use]
    pub fn usual_concern(&self) -> Concern {
        self.seen.as_ref().map_or_else(Concern::one, Concern::for_write)
    }

    /// Remembers what a `getLastError` asks for. Returns where the last write went, if something must be waited for that did not go
    /// along with it.
    #[must_use]
    pub fn must_wait(&mut self, asked: &Concern) -> Option<(String, String)> {
        self.seen = Some(asked.clone());
        if self.failed() || asked.is_plain() {
            return None;
        }
        if *asked == self.sent {
            let was_told = std::mem::replace(&mut self.told_unmet, true);
            if self.unmet.is_none() || !was_told {
                return None;
            }
        }
        self.wrote.clone()
    }

    /// Takes up that no set has as many members as are asked for.
    pub fn note_beyond_sets(&mut self, asked: &Concern) {
        self.sent = asked.clone();
        self.unmet = Some(Failure {
            code: UNSATISFIABLE,
            code_name: "UnsatisfiableWriteConcern".to_owned(),
            message: "Not enough data-bearing nodes".to_owned(),
        });
    }

    /// The error of the last operation.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match &self.outcome {
            Outcome::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// Takes up the reply to the write that waited for `asked`; `false` if that one failed. If it was the last try, its error is the
    /// answer: nobody knows whether the concern holds.
    ///
    /// # Errors
    /// When the reply cannot be walked.
    pub fn note_wait(
        &mut self,
        asked: &Concern,
        reply: RawDoc<'_>,
        is_last: bool,
    ) -> Result<bool, WireError> {
        let seen = WriteReply::read(reply)?;
        if let Some(failure) = seen.failure {
            if is_last {
                self.note(Outcome::Failed(failure));
            }
            return Ok(false);
        }
        self.sent = asked.clone();
        self.unmet = seen.unmet;
        self.told_unmet = true;
        if let (Some((_, wrote_in)), Some((_, waited_in))) = (self.last_op, seen.op_time)
            && wrote_in != waited_in
        {
            // The primary that had it may have been alone with it.
            self.note(Outcome::Failed(Failure {
                code: 6,
                code_name: "HostUnreachable".to_owned(),
                message: "another primary was elected since the write, which may have been rolled back: its outcome is unknown"
                    .to_owned(),
            }));
        }
        Ok(true)
    }

    /// The answer to a `getLastError` that asks for `asked`, for which was waited as far as it had to be.
    #[must_use]
    pub fn answer(&self, asked: &Concern, connection_id: i32) -> RawDocumentBuf {
        let mut doc = self.head(connection_id);
        if let Outcome::Failed(failure) = &self.outcome {
            append_failed(&mut doc, failure);
            doc.append(cstr!("n"), 0);
            doc.append(cstr!("ok"), 1.0);
            return doc;
        }
        self.append_outcome(&mut doc);
        doc.append(cstr!("syncMillis"), 0);
        let unmet = self
            .unmet
            .as_ref()
            .filter(|_| *asked == self.sent && !asked.is_plain());
        match unmet {
            Some(unmet) if unmet.code == TIMED_OUT => {
                doc.append(cstr!("waited"), int(asked.timeout));
                doc.append(cstr!("wtimeout"), true);
                doc.append(cstr!("writtenTo"), RawBson::Null);
                doc.append(cstr!("err"), "timeout");
                doc.append(cstr!("ok"), 1.0);
                doc.append(cstr!("errmsg"), "timed out waiting for slaves");
                doc.append(cstr!("code"), unmet.code);
                doc.append(cstr!("codeName"), unmet.code_name.as_str());
            }
            unmet => {
                if asked.waits_for_members() && self.wrote.is_some() {
                    doc.append(cstr!("wtime"), 0);
                }
                doc.append(cstr!("writtenTo"), RawBson::Null);
                doc.append(cstr!("err"), RawBson::Null);
                append_end(&mut doc, unmet);
            }
        }
        doc
    }

    /// The answer to a `getLastError` that asks for what cannot be.
    #[must_use]
    pub fn refuse(&self, bad: &BadConcern, command: &RawDocument, connection_id: i32) -> RawDocumentBuf {
        let mut doc = self.head(connection_id);
        if let Outcome::Failed(failure) = &self.outcome {
            append_failed(&mut doc, failure);
        }
        self.append_outcome(&mut doc);
        doc.append(cstr!("badGLE"), as_said(command));
        doc.append(cstr!("ok"), 0.0);
        doc.append(cstr!("errmsg"), bad.0.as_str());
        if !matches!(self.outcome, Outcome::Failed(_)) {
            doc.append(cstr!("code"), 9);
            doc.append(cstr!("codeName"), "FailedToParse");
        }
        doc
    }

    /// The answer to `getPrevError`, which servers had until 4.0.
    #[must_use]
    pub fn previous(&self) -> RawDocumentBuf {
        let mut doc = RawDocumentBuf::new();
        match &self.previous {
            Some((failure, ago)) => {
                append_failed(&mut doc, failure);
                doc.append(cstr!("n"), 0);
                doc.append(cstr!("nPrev"), *ago);
            }
            None => {
                doc.append(cstr!("n"), 0);
                doc.append(cstr!("err"), RawBson::Null);
                doc.append(cstr!("nPrev"), -1);
            }
        }
        doc.append(cstr!("ok"), 1.0);
        doc
    }

    fn head(&self, connection_id: i32) -> RawDocumentBuf {
        let mut doc = RawDocumentBuf::new();
        if let Some((ts, term)) = self.last_op {
            let mut place = RawDocumentBuf::new();
            place.append(cstr!("ts"), ts);
            place.append(cstr!("t"), term);
            doc.append(cstr!("lastOp"), place);
        }
        doc.append(cstr!("connectionId"), connection_id);
        doc
    }

    fn append_outcome(&self, doc: &mut RawDocumentBuf) {
        let n = match &self.outcome {
            Outcome::Updated {
                existing,
                upserted,
                n,
            } => {
                doc.append(cstr!("updatedExisting"), *existing);
                if let Some(id) = upserted {
                    doc.append(cstr!("upserted"), id.clone());
                }
                *n
            }
            Outcome::Deleted { n } => *n,
            Outcome::Done | Outcome::Failed(_) => 0,
        };
        doc.append(cstr!("n"), int(n));
    }
}

/// Whether a reply tells a failure.
///
/// # Errors
/// When it cannot be walked.
pub fn is_failure(reply: RawDoc<'_>) -> Result<bool, WireError> {
    Ok(WriteReply::read(reply)?.failure.is_some())
}

/// A command without the fields that a message has and an OP_QUERY has not.
fn as_said(command: &RawDocument) -> RawDocumentBuf {
    let mut said = RawDocumentBuf::new();
    let fields = command.iter().map_while(Result::ok);
    for (name, value) in fields.filter(|(name, _)| !name.as_str().starts_with('$')) {
        said.append(name, value);
    }
    said
}

/// The error that `forceerror` sets, which servers had until 4.0.
#[must_use]
pub fn forced() -> Failure {
    Failure {
        code: 10038,
        code_name: code_name(10038),
        message: "forced error".to_owned(),
    }
}

fn append_failed(doc: &mut RawDocumentBuf, failure: &Failure) {
    doc.append(cstr!("err"), failure.message.as_str());
    doc.append(cstr!("code"), failure.code);
    doc.append(cstr!("codeName"), failure.code_name.as_str());
}

fn append_end(doc: &mut RawDocumentBuf, unmet: Option<&Failure>) {
    let Some(unmet) = unmet else {
        doc.append(cstr!("ok"), 1.0);
        return;
    };
    doc.append(cstr!("ok"), 0.0);
    doc.append(cstr!("errmsg"), unmet.message.as_str());
    doc.append(cstr!("code"), unmet.code);
    doc.append(cstr!("codeName"), unmet.code_name.as_str());
}

/// Counts are 32 bits wide in these answers where they fit.
fn int(n: i64) -> RawBson {
    i32::try_from(n).map_or(RawBson::Int64(n), RawBson::Int32)
}

/// What a reply to a write tells.
#[derive(Debug, Default)]
struct WriteReply {
    n: i64,
    upserted: Option<RawBson>,
    failure: Option<Failure>,
    unmet: Option<Failure>,
    op_time: Option<(Timestamp, i64)>,
}

impl WriteReply {
    fn read(reply: RawDoc<'_>) -> Result<Self, WireError> {
        let mut seen = Self::default();
        let mut ok = false;
        for field in reply {
            let field = field?;
            match field.key {
                b"ok" => ok = field.as_bool() == Some(true),
                b"n" => seen.n = field.as_i64().unwrap_or_default(),
                b"upserted" => seen.upserted = last_document(&field)?.map(upserted_id).transpose()?.flatten(),
                b"writeErrors" => seen.failure = last_document(&field)?.map(failure).transpose()?,
                b"writeConcernError" => seen.unmet = field.as_doc().map(failure).transpose()?,
                b"opTime" => seen.op_time = field.as_doc().map(op_time).transpose()?.flatten(),
                _ => {}
            }
        }
        if !ok {
            seen.failure = Some(failure(reply)?);
        }
        Ok(seen)
    }
}

fn last_document<'a>(array: &Element<'a>) -> Result<Option<RawDoc<'a>>, WireError> {
    let last = array.as_array().and_then(|array| array.iter().last());
    Ok(last.transpose()?.and_then(|last| last.as_doc()))
}

fn upserted_id(upserted: RawDoc<'_>) -> Result<Option<RawBson>, WireError> {
    let upserted = super::raw(upserted)?;
    Ok(upserted.get("_id").ok().flatten().map(RawBson::from))
}

fn failure(error: RawDoc<'_>) -> Result<Failure, WireError> {
    let (mut code, mut name, mut message) = (0, None, "unknown error");
    for field in error {
        let field = field?;
        match field.key {
            b"code" => code = field.as_i64().unwrap_or_default() as i32,
            b"codeName" => name = field.as_str(),
            b"errmsg" => message = field.as_str().unwrap_or(message),
            _ => {}
        }
    }
    Ok(Failure {
        code,
        code_name: name.map_or_else(|| code_name(code), str::to_owned),
        message: message.to_owned(),
    })
}

fn op_time(place: RawDoc<'_>) -> Result<Option<(Timestamp, i64)>, WireError> {
    let place = super::raw(place)?;
    let ts = place.get_timestamp("ts").ok();
    Ok(ts.map(|ts| (ts, place.get_i64("t").unwrap_or(-1))))
}

/// The name of a code that stands in `writeErrors`, where servers tell none.
fn code_name(code: i32) -> String {
    let name = match code {
        2 => "BadValue",
        9 => "FailedToParse",
        14 => "TypeMismatch",
        28 => "PathNotViable",
        52 => "DollarPrefixedFieldName",
        56 => "EmptyFieldName",
        57 => "DottedFieldName",
        66 => "ImmutableField",
        73 => "InvalidNamespace",
        112 => "WriteConflict",
        121 => "DocumentValidationFailure",
        10334 => "BSONObjectTooLarge",
        11000 => "DuplicateKey",
        other => return format!("Location{other}"),
    };
    name.to_owned()
}

#[cfg(test)]
#[path = "last_error_tests.rs"]
mod tests;
