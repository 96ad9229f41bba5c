//! Errors by which a node says that it is not, or no longer, what the driver took it for.
//!
//! Such an error, relayed as it is, would make the driver mark the *proxy* as down. `mongos` answers
//! `HostUnreachable` in its place, without the words by which drivers that know no codes recognise it, and so does
//! Tidegate; labels stay (Server Discovery and Monitoring specification, "not writable primary" and "node is recovering").

use bson::{Bson, Document, RawDocumentBuf};

use super::error_reply::HOST_UNREACHABLE;
use crate::{
    topology::{ApplicationError, ErrorCause, TopologyVersion},
    wire::{RawDoc, WireError, decode},
};

/// Whether `code` belongs to the "not writable primary" or "node is recovering" families.
#[must_use]
pub fn is_state_change(code: i32) -> bool {
    matches!(code, 10107 | 13435 | 13436 | 11600 | 11602 | 91 | 189 | 10058)
}

/// A reply whose state-change errors were taken out.
#[derive(Debug, Clone, PartialEq)]
pub struct Masked {
    /// What the client gets.
    pub reply: Document,
    /// What the node said of itself, unless the error stood in `writeErrors` only.
    pub node_state: Option<NodeState>,
}

/// What a state-change error tells of the node that answered it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeState {
    /// The error's code.
    pub code: i32,
    /// The version of the node's state, from servers since 4.4.
    pub topology_version: Option<TopologyVersion>,
}

impl NodeState {
    /// The error as the topology takes it in. `generation` is that of the connection on which it came.
    #[must_use]
    pub fn into_error(self, generation: u64) -> ApplicationError {
        ApplicationError {
            cause: ErrorCause::StateChange {
                code: self.code,
                topology_version: self.topology_version,
            },
            generation,
        }
    }
}

/// Where in a reply an error stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The command failed.
    Command,
    /// In `writeConcernError`: what the command did may be rolled back.
    WriteConcern,
    /// In `writeErrors`: one statement failed, and others may not have.
    Write,
}

/// The first such error in `body`, and its level. Costs a walk: replies with a hundred thousand write errors are not decoded to
/// find that there is none.
///
/// # Errors
/// When the document cannot be walked.
pub fn find(body: RawDoc<'_>) -> Result<Option<(Level, i32)>, WireError> {
    for element in body {
        let element = element?;
        let found = match element.key {
            b"code" => element.as_i64().map(|code| (Level::Command, code as i32)),
            b"writeConcernError" => match element.as_doc() {
                Some(error) => code_of(error)?.map(|code| (Level::WriteConcern, code)),
                None => None,
            },
            b"writeErrors" => match element.as_array() {
                Some(errors) => find_among(errors)?.map(|code| (Level::Write, code)),
                None => None,
            },
            _ => None,
        };
        if let Some((_, code)) = found
            && is_state_change(code)
        {
            return Ok(found);
        }
    }
    Ok(None)
}

fn code_of(error: RawDoc<'_>) -> Result<Option<i32>, WireError> {
    let code = error.get("code")?.and_then(|code| code.as_i64());
    Ok(code.map(|code| code as i32))
}

fn find_among(errors: RawDoc<'_>) -> Result<Option<i32>, WireError> {
    for error in errors {
        if let Some(error) = error?.as_doc()
            && let Some(code) = code_of(error)?
            && is_state_change(code)
        {
            return Ok(Some(code));
        }
    }
    Ok(None)
}

/// Returns `body` without state-change errors, or `None` if it has none. Only for replies that carry an error.
///
/// # Errors
/// When the document is not valid BSON.
pub fn mask(body: RawDoc<'_>) -> Result<Option<Masked>, WireError> {
    if find(body)?.is_none() {
        return Ok(None);
    }
    let mut reply = decode(body)?;
    let mut code = mask_one(&mut reply);
    if let Ok(error) = reply.get_document_mut("writeConcernError") {
        code = mask_one(error).or(code);
    }
    let mut masked = code.is_some();
    if let Ok(errors) = reply.get_array_mut("writeErrors") {
        for error in errors.iter_mut().filter_map(Bson::as_document_mut) {
            masked |= mask_one(error).is_some();
        }
    }
    if !masked {
        return Ok(None);
    }
    let version = reply.remove("topologyVersion");
    let topology_version = version
        .as_ref()
        .and_then(Bson::as_document)
        .and_then(|version| TopologyVersion::from_document(&RawDocumentBuf::try_from(version).ok()?));
    let node_state = code.map(|code| NodeState {
        code,
        topology_version,
    });
    Ok(Some(Masked { reply, node_state }))
}

/// Masks one error, and returns the code that it had if it was one to mask.
fn mask_one(error: &mut Document) -> Option<i32> {
    let code = match error.get("code") {
        Some(Bson::Int32(code)) => *code,
        Some(Bson::Int64(code)) => *code as i32,
        Some(Bson::Double(code)) => *code as i32,
        _ => return None,
    };
    if !is_state_change(code) {
        return None;
    }
    let (unreachable, name) = HOST_UNREACHABLE;
    error.insert("code", unreachable);
    if error.contains_key("codeName") {
        error.insert("codeName", name);
    }
    if let Ok(message) = error.get_str("errmsg") {
        let message = soften(message);
        error.insert("errmsg", message);
    }
    Some(code)
}

/// Takes the words out by which drivers recognise a state change without a code.
fn soften(message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    if lower.contains("not master") || lower.contains("node is recovering") || lower.contains("not primary") {
        "the node that had this command is no longer in the state to run it".to_owned()
    } else {
        message.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    fn mask_document(reply: &Document) -> Option<Masked> {
        mask(RawDoc::prefix(&reply.to_vec().unwrap()).unwrap()).unwrap()
    }

    fn masked(reply: &Document) -> Option<Document> {
        mask_document(reply).map(|masked| masked.reply)
    }

    #[test]
    fn what_the_node_says_of_itself_is_told() {
        let process_id = bson::oid::ObjectId::from_bytes([7; 12]);
        let version = doc! {"processId": process_id, "counter": 6i64};
        let top = doc! {"ok": 0.0, "errmsg": "x", "code": 189, "topologyVersion": version};
        let state = mask_document(&top).unwrap().node_state.unwrap();
        assert_eq!(state.code, 189);
        assert_eq!(
            state.topology_version,
            Some(TopologyVersion {
                process_id,
                counter: 6
            })
        );
        let writes = doc! {"n": 0, "writeErrors": [{"index": 1, "code": 189, "errmsg": "x"}], "ok": 1.0};
        assert_eq!(mask_document(&writes).unwrap().node_state, None);
    }

    #[test]
    fn every_level_is_masked_and_labels_stay() {
        let top = doc! {"ok": 0.0, "errmsg": "not master", "code": 10107, "codeName": "NotWritablePrimary",
        "errorLabels": ["RetryableWriteError"], "topologyVersion": {"counter": 1i64}};
        let out = masked(&top).unwrap();
        assert_eq!(out.get_i32("code").unwrap(), 6);
        assert_eq!(out.get_str("codeName").unwrap(), "HostUnreachable");
        assert!(!out.get_str("errmsg").unwrap().contains("not master"));
        assert!(!out.contains_key("topologyVersion"));
        assert_eq!(out.get_array("errorLabels").unwrap().len(), 1);

        let concern = doc! {"n": 1, "writeConcernError": {"code": 11602, "codeName": "X", "errmsg": "operation was interrupted"}, "ok": 1.0};
        let out = masked(&concern).unwrap();
        assert_eq!(
            out.get_document("writeConcernError")
                .unwrap()
                .get_i32("code")
                .unwrap(),
            6
        );
        assert_eq!(out.get_i32("n").unwrap(), 1);

        let writes = doc! {"n": 0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "dup"}, {"index": 1, "code": 189, "errmsg": "x"}], "ok": 1.0};
        let errors = masked(&writes).unwrap().get_array("writeErrors").unwrap().clone();
        assert_eq!(errors[0].as_document().unwrap().get_i32("code").unwrap(), 11000);
        assert_eq!(errors[1].as_document().unwrap().get_i32("code").unwrap(), 6);
    }

    #[test]
    fn other_errors_are_left_alone() {
        assert_eq!(
            masked(&doc! {"ok": 0.0, "code": 11000, "errmsg": "not master of ceremonies"}),
            None
        );
        assert_eq!(masked(&doc! {"ok": 0.0, "errmsg": "no code"}), None);
    }

    #[test]
    fn an_error_is_found_with_its_level() {
        let find = |reply: &Document| find(RawDoc::prefix(&reply.to_vec().unwrap()).unwrap()).unwrap();
        let table = [
            (doc! {"ok": 0.0, "code": 10107}, Some((Level::Command, 10107))),
            (
                doc! {"n": 1, "writeConcernError": {"code": 11602}, "ok": 1.0},
                Some((Level::WriteConcern, 11602)),
            ),
            (
                doc! {"n": 0, "writeErrors": [{"code": 11000}, {"code": 189}], "ok": 1.0},
                Some((Level::Write, 189)),
            ),
            (
                doc! {"writeErrors": [{"code": 11000}], "writeConcernError": {"code": 64}, "ok": 1.0},
                None,
            ),
            (doc! {"writeErrors": 5, "writeConcernError": 91, "ok": 1.0}, None),
        ];
        for (reply, found) in table {
            assert_eq!(find(&reply), found, "{reply}");
        }
    }

    #[test]
    fn errors_to_be_left_alone_are_not_even_decoded() {
        let reply =
            doc! {"n": 0, "writeErrors": [{"index": 0, "code": 11000, "errInfo": {"x": "text"}}], "ok": 1.0};
        let mut bytes = reply.to_vec().unwrap();
        let text = bytes.windows(4).position(|part| part == b"text").unwrap();
        bytes[text] = 0xff;
        assert_eq!(mask(RawDoc::prefix(&bytes).unwrap()).unwrap(), None);
    }
}
