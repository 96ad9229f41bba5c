//! A client's message, ready to be routed: checked, peeked, and translated if it came by a legacy opcode.

use bson::RawDocument;
use bytes::BytesMut;

use super::{compression, session::End};
use crate::{
    command::{
        ErrorReply, Request, may_be_compressed,
        retryable::{self, WriteShape},
    },
    failover::{Lent, Repeat},
    net::buffers,
    pool::Identity,
    wire::{Compressor, Frame, OpCode, RawDoc, WireError, legacy, legacy_translate, op_msg},
};

/// How the client wants its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyForm {
    /// As OP_MSG.
    Msg,
    /// As OP_REPLY, because it asked by OP_QUERY.
    Legacy,
    /// Not at all (`moreToCome`).
    None,
}

/// Where and how the reply goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplyTo {
    /// The client's number for its request.
    pub(super) request_id: i32,
    pub(super) form: ReplyForm,
    /// Whether the request had a checksum: then its reply has one too, as a `mongod`'s has.
    pub(super) checksum: bool,
    /// The compressor of the request, if its reply may be compressed.
    pub(super) compressor: Option<Compressor>,
}

/// A request that can be routed.
#[derive(Debug)]
pub(super) struct Inbound {
    /// The request as OP_MSG.
    pub(super) frame: Frame,
    pub(super) request: Request,
    pub(super) reply_to: ReplyTo,
    /// The proxy's own session that it goes out under, if there is need of one.
    pub(super) lent: Lent<Identity>,
    /// An attempt at it broke off: a node may be at it still.
    pub(super) has_broken: bool,
}

impl Inbound {
    /// What it means to send the command a second time.
    pub(super) fn repeat(&self) -> Repeat {
        let (request, message) = (&self.request, self.frame.bytes());
        if request.ends_transaction() && request.in_transaction {
            Repeat::Recognised
        } else if request.in_transaction {
            Repeat::Statement
        } else if request.has_txn_number || self.lent.is_some() {
            Repeat::Recognised
        } else if request.is_retryable_read() {
            Repeat::Read
        } else if retryable::shape(message, request).is_some_and(WriteShape::is_single) {
            Repeat::Single
        } else {
            Repeat::Never
        }
    }
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum Received {
    /// A request to route.
    Command(Inbound),
    /// The answer is known already.
    Answer(BytesMut),
    /// There is nothing to answer.
    Nothing,
}

/// Takes a whole message in, which may have come by a compressor.
///
/// # Errors
/// When it breaks the protocol in a way that has no answer, or its opcode is not served.
pub(super) fn receive(frame: Frame, compressor: Option<Compressor>) -> Result<Received, End> {
    let request_id = frame.header().request_id;
    match frame.header().op_code {
        OpCode::Msg => {
            let flags = op_msg::peek_flags(frame.bytes()).unwrap_or_default();
            let form = if flags & op_msg::MORE_TO_COME == 0 {
                ReplyForm::Msg
            } else {
                ReplyForm::None
            };
            let checksum = flags & op_msg::CHECKSUM_PRESENT != 0;
            let reply_to = ReplyTo {
                request_id,
                form,
                checksum,
                compressor,
            };
            peek(frame, reply_to)
        }
        OpCode::Query => {
            let reply_to = ReplyTo {
                request_id,
                form: ReplyForm::Legacy,
                checksum: false,
                compressor,
            };
            receive_query(&frame, reply_to)
        }
        OpCode::GetMore => {
            let mut out = BytesMut::new();
            legacy::encode_cursor_not_found(0, request_id, &mut out);
            Ok(Received::Answer(out))
        }
        OpCode::KillCursors => Ok(Received::Nothing),
        other => Err(End::Protocol(WireError::Unsupported(other))),
    }
}

fn receive_query(frame: &Frame, reply_to: ReplyTo) -> Result<Received, End> {
    let translated = legacy::Query::parse(frame.payload()).and_then(|query| {
        query
            .is_command()
            .then(|| legacy_translate::command_to_op_msg(&query, reply_to.request_id))
            .transpose()
    });
    match translated {
        Ok(Some(command)) => peek(command, reply_to),
        Ok(None) => Ok(Received::Answer(failed_query(reply_to.request_id)?)),
        Err(error @ WireError::Bson(_)) => answer_error(&ErrorReply::invalid_message(&error), reply_to),
        Err(error) => Err(End::Protocol(error)),
    }
}

fn peek(frame: Frame, mut reply_to: ReplyTo) -> Result<Received, End> {
    let layout = match op_msg::Layout::parse(frame.bytes()) {
        Ok(layout) => layout,
        Err(error) if error.is_answerable() => {
            return answer_error(&ErrorReply::invalid_message(&error), reply_to);
        }
        Err(error) => return Err(End::Protocol(error)),
    };
    match Request::peek(frame.bytes(), layout) {
        Ok(request) => {
            reply_to.compressor = reply_to
                .compressor
                .filter(|_| may_be_compressed(request.name(frame.bytes())));
            Ok(Received::Command(Inbound {
                frame,
                request,
                reply_to,
                lent: Lent::NONE,
                has_broken: false,
            }))
        }
        Err(error) => answer_error(&error, reply_to),
    }
}

fn answer_error(error: &ErrorReply, reply_to: ReplyTo) -> Result<Received, End> {
    tracing::debug!(error = error.message(), "invalid request answered");
    Ok(encode(&error.to_document(), reply_to)?.map_or(Received::Nothing, Received::Answer))
}

fn failed_query(request_id: i32) -> Result<BytesMut, End> {
    let mut out = BytesMut::new();
    let document = ErrorReply::legacy_query().to_legacy_query_failure();
    let document = RawDoc::prefix(document.as_bytes())?;
    legacy::encode_reply(
        document,
        legacy::QUERY_FAILURE | legacy::AWAIT_CAPABLE,
        0,
        request_id,
        &mut out,
    );
    Ok(out)
}

/// A reply of Tidegate's own, in the form that the client wants; `None` if it wants none.
///
/// # Errors
/// Never for a document that `bson` made.
pub(super) fn encode(document: &RawDocument, reply_to: ReplyTo) -> Result<Option<BytesMut>, End> {
    let document = RawDoc::prefix(document.as_bytes())?;
    let mut out = buffers::take();
    match reply_to.form {
        ReplyForm::Msg => {
            op_msg::encode(document, 0, reply_to.request_id, 0, &mut out);
            if reply_to.checksum {
                op_msg::append_checksum(&mut out);
            }
        }
        ReplyForm::Legacy => {
            legacy::encode_reply(document, legacy::AWAIT_CAPABLE, 0, reply_to.request_id, &mut out);
        }
        ReplyForm::None => return Ok(None),
    }
    Ok(Some(match reply_to.compressor {
        None => out,
        Some(compressor) => compression::deflated_small(out, compressor),
    }))
}
