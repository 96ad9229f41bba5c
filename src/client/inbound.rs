//! A client's message, ready to be routed: checked and peeked.

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
    wire::{Compressor, Frame, RawDoc, WireError, op_msg},
};

/// How the client wants its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyForm {
    /// As OP_MSG.
    Msg,
    /// Not at all (`moreToCome`).
    None,
    /// As OP_MSG, and not by the client: Tidegate asked on its behalf (`legacy::ask`).
    Kept,
    /// The same for a client that waits for no reply.
    KeptUnawaited,
}

impl ReplyForm {
    /// Whether somebody waits for the reply. A write that nobody waits for is seen through though its client leaves.
    pub(super) fn is_awaited(self) -> bool {
        match self {
            Self::Msg | Self::Kept => true,
            Self::None | Self::KeptUnawaited => false,
        }
    }
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
    /// An OP_MSG of a client's, which may have come by a compressor; to be read.
    pub(super) fn new(frame: Frame, compressor: Option<Compressor>) -> Self {
        let flags = op_msg::peek_flags(frame.bytes()).unwrap_or_default();
        let form = if flags & op_msg::MORE_TO_COME == 0 {
            ReplyForm::Msg
        } else {
            ReplyForm::None
        };
        let reply_to = ReplyTo {
            request_id: frame.request_id(),
            form,
            checksum: flags & op_msg::CHECKSUM_PRESENT != 0,
            compressor,
        };
        Self::unread(frame, reply_to)
    }

    /// A command of Tidegate's own making; to be read.
    pub(super) fn own(frame: Frame, form: ReplyForm) -> Self {
        let reply_to = ReplyTo {
            request_id: 0,
            form,
            checksum: false,
            compressor: None,
        };
        Self::unread(frame, reply_to)
    }

    fn unread(frame: Frame, reply_to: ReplyTo) -> Self {
        Self {
            frame,
            request: Request::default(),
            reply_to,
            lent: Lent::NONE,
            has_broken: false,
        }
    }

    /// Checks the message and peeks what it asks for. This happens in place: a request is some two hundred bytes, which no command
    /// need move.
    ///
    /// # Errors
    /// When it is none; nothing is known of it then.
    pub(super) fn read(&mut self) -> Result<(), NoRequest> {
        let message = self.frame.bytes();
        let layout = op_msg::Layout::parse(message).map_err(|error| {
            if error.is_answerable() {
                NoRequest::Answer(ErrorReply::invalid_message(&error))
            } else {
                NoRequest::Breach(error)
            }
        })?;
        self.request.read(message, layout).map_err(NoRequest::Answer)?;
        if self.reply_to.compressor.is_some() && !may_be_compressed(self.request.name(message)) {
            self.reply_to.compressor = None;
        }
        Ok(())
    }

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

/// Why a message is no request that can be routed.
#[derive(Debug)]
pub(super) enum NoRequest {
    /// The client is told what is wrong with it.
    Answer(ErrorReply),
    /// It breaks the protocol in a way that has no answer.
    Breach(WireError),
}

/// A reply of Tidegate's own, in the form that the client wants; `None` if it wants none.
///
/// # Errors
/// Never for a document that `bson` made.
pub(super) fn encode(document: &RawDocument, reply_to: ReplyTo) -> Result<Option<BytesMut>, End> {
    let document = RawDoc::prefix(document.as_bytes())?;
    let mut out = buffers::take();
    match reply_to.form {
        ReplyForm::Msg | ReplyForm::Kept | ReplyForm::KeptUnawaited => {
            op_msg::encode(document, 0, reply_to.request_id, 0, &mut out);
            if reply_to.checksum {
                op_msg::append_checksum(&mut out);
            }
        }
        ReplyForm::None => return Ok(None),
    }
    Ok(Some(match reply_to.compressor {
        None => out,
        Some(compressor) => compression::deflated_small(out, compressor),
    }))
}
