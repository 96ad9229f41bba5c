//! What pins, routing and the verdict need from a reply, peeked from its raw bytes.

use super::number::tells_of_retry;
use crate::wire::{Element, RawDoc, WireError};

/// A peeked reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reply {
    /// `ok` is 1.
    pub ok: bool,
    /// The error code of a failed command; 0 if there is none.
    pub code: i32,
    /// `cursor.id`, if the reply has a cursor; 0 when it is exhausted.
    pub cursor_id: Option<i64>,
    /// The cursor tells where to resume it, as change streams do: it waits for new documents.
    pub resumable: bool,
    /// `errorLabels` is present.
    pub has_labels: bool,
    /// Whether an error stands at any level: the command's, a `writeConcernError`, or `writeErrors`.
    pub has_error: bool,
    /// The node had executed statements of the write at an earlier attempt.
    pub tells_of_retry: bool,
}

impl Reply {
    /// Walks the reply's top level, and into `cursor` for its id.
    ///
    /// # Errors
    /// When the document cannot be walked.
    pub fn peek(body: RawDoc<'_>) -> Result<Self, WireError> {
        let mut reply = Self::default();
        for element in body {
            let element = element?;
            match element.key {
                b"errorLabels" => reply.has_labels = true,
                b"ok" => reply.ok = element.as_bool() == Some(true),
                b"code" => reply.code = element.as_i64().unwrap_or_default() as i32,
                b"cursor" => reply.note_cursor(&element)?,
                b"writeConcernError" | b"writeErrors" => reply.has_error = true,
                key => reply.tells_of_retry |= tells_of_retry(key),
            }
        }
        reply.has_error |= !reply.ok;
        Ok(reply)
    }

    /// Walks to the id, before which a server puts the resume token.
    fn note_cursor(&mut self, cursor: &Element<'_>) -> Result<(), WireError> {
        let Some(cursor) = cursor.as_doc() else {
            return Ok(());
        };
        for field in cursor {
            let field = field?;
            match field.key {
                b"id" => {
                    self.cursor_id = field.as_i64();
                    break;
                }
                b"postBatchResumeToken" => self.resumable = true,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, doc};

    fn peek(reply: &Document) -> Reply {
        Reply::peek(RawDoc::prefix(&reply.to_vec().unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn outcomes_are_told_apart() {
        let table = [
            (doc! {"n": 1, "ok": 1.0}, (true, 0, None, false)),
            (doc! {"ok": 1}, (true, 0, None, false)),
            (
                doc! {"ok": 0.0, "errmsg": "x", "code": 10107},
                (false, 10107, None, true),
            ),
            (
                doc! {"n": 1, "writeConcernError": {"code": 64}, "ok": 1.0},
                (true, 0, None, true),
            ),
            (
                doc! {"n": 0, "writeErrors": [{"index": 0, "code": 11000}], "ok": 1.0},
                (true, 0, None, true),
            ),
            (
                doc! {"cursor": {"firstBatch": [{"id": 9}], "id": 1i64 << 40, "ns": "d.c"}, "ok": 1.0},
                (true, 0, Some(1 << 40), false),
            ),
            (
                doc! {"cursor": {"nextBatch": [], "id": 0i64, "ns": "d.c"}, "ok": 1.0},
                (true, 0, Some(0), false),
            ),
            (doc! {"cursor": 5, "ok": 1.0}, (true, 0, None, false)),
        ];
        for (reply, (ok, code, cursor_id, has_error)) in table {
            assert_eq!(
                peek(&reply),
                Reply {
                    ok,
                    code,
                    cursor_id,
                    resumable: false,
                    has_error,
                    tells_of_retry: false,
                    has_labels: false,
                },
                "{reply}"
            );
        }
    }

    #[test]
    fn a_write_that_was_executed_before_is_told_from_others() {
        for reply in [
            doc! {"n": 1, "retriedStmtIds": [0], "ok": 1.0},
            doc! {"retriedStmtId": 0, "ok": 1.0},
        ] {
            assert!(peek(&reply).tells_of_retry, "{reply}");
        }
        assert!(!peek(&doc! {"n": 1, "value": {"retriedStmtId": 0}, "ok": 1.0}).tells_of_retry);
    }

    #[test]
    fn a_resume_token_tells_a_change_stream() {
        let cursor = doc! {"nextBatch": [], "postBatchResumeToken": {"_data": "00"}, "id": 9i64, "ns": "d.c"};
        let reply = peek(&doc! {"cursor": cursor, "ok": 1.0});
        assert_eq!((reply.cursor_id, reply.resumable), (Some(9), true));
    }
}
