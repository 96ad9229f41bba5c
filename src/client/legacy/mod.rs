//! Serves what comes by a legacy opcode: each message becomes commands of today, and their replies its answer.
//!
//! [`ask`] is the one way in which that is done. A command that is asked so lives the whole life of a client's own
//! (`exchange::execute`): it is routed, waits at the gate, goes again and is applied exactly once as any other.

mod commands;
mod cursors;
mod last_error;
mod query;
mod seen;
mod writes;

use std::{future::Future, pin::Pin};

use bytes::BytesMut;

use super::{
    compression,
    exchange::execute,
    inbound::{Inbound, ReplyForm},
    session::{End, Session},
};
use crate::{
    command::legacy::LastError,
    net::Permit,
    wire::{Compressor, Frame, OpCode, RawDoc, WireError, op_msg},
};

pub use seen::{LegacyClient, LegacyClients, LegacyUse};

pub(super) use cursors::drop_one as drop_cursor;
pub(super) use last_error::{answer as answer_last_error, note_message};

/// Messages above this many bytes are translated off the core: it is a matter of copying them.
const ON_CORE: usize = 1 << 20;

/// What is remembered of a connection that uses legacy opcodes.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether it wrote by them, or asked for the outcome of a write.
    pub(super) tells_errors: bool,
    pub(super) last_error: LastError,
    /// The opcodes that it used, a bit for each.
    used: u8,
    /// The place for the reply to the command that is being asked.
    pub(super) kept: Option<Kept>,
}

/// Where a reply is kept that Tidegate itself has asked for.
#[derive(Debug, Default)]
pub(super) struct Kept {
    reply: Option<BytesMut>,
    room: Option<Permit>,
}

impl Kept {
    /// Keeps a reply, with its room in the byte budget.
    pub(super) fn take_in(&mut self, reply: BytesMut, room: Option<Permit>) {
        self.reply = Some(reply);
        self.room = room;
    }
}

/// The reply to a command that Tidegate asked on a client's behalf; an OP_MSG.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) frame: Frame,
    /// Its room in the byte budget.
    pub(super) room: Option<Permit>,
}

impl Asked {
    /// What the reply says.
    ///
    /// # Errors
    /// When it is no valid reply.
    pub(super) fn body(&self) -> Result<RawDoc<'_>, WireError> {
        body(&self.frame)
    }
}

/// The body of a whole OP_MSG.
pub(super) fn body(frame: &Frame) -> Result<RawDoc<'_>, WireError> {
    op_msg::Layout::parse(frame.bytes())?.body(frame.bytes())
}

/// Has a command executed on the client's behalf. `None` if the client went away and nothing is left to do for it; `awaited` says whether
/// it waits for an answer at all.
///
/// Cancel safety: as that of a client's own command.
///
/// # Errors
/// Those that end the session.
pub(super) fn ask(
    session: &mut Session,
    command: Frame,
    awaited: bool,
) -> Pin<Box<dyn Future<Output = Result<Option<Asked>, End>> + Send + '_>> {
    Box::pin(async move {
        let form = if awaited {
            ReplyForm::Kept
        } else {
            ReplyForm::KeptUnawaited
        };
        let place = &mut session.legacy.get_or_insert_default().kept;
        let outer = place.replace(Kept::default());
        let mut inbound = Inbound::own(command, form);
        let served = execute(session, &mut inbound, &mut None).await;
        let place = &mut session.legacy.get_or_insert_default().kept;
        let kept = std::mem::replace(place, outer);
        served?;
        let Some(Kept { reply, room }) = kept else {
            return Ok(None);
        };
        let asked = |reply| Frame::new(reply).map(|frame| Asked { frame, room });
        Ok(reply.map(asked).transpose()?)
    })
}

/// Serves one message by a legacy opcode. `held` is its room in the byte budget, `compressor` the one by which it came.
///
/// # Errors
/// When it breaks the protocol: a `mongod` would have closed the connection, too, or overlooked it.
pub(super) async fn serve(
    session: &mut Session,
    frame: Frame,
    held: Option<Permit>,
    compressor: Option<Compressor>,
) -> Result<(), End> {
    let op_code = frame.header().op_code;
    if op_code != OpCode::Query {
        seen::note(session, op_code);
    }
    match op_code {
        OpCode::Query => query::serve(session, frame, held, compressor).await,
        other if !session.listener.translates => Err(End::Protocol(WireError::Unsupported(other))),
        OpCode::GetMore => cursors::get_more(session, &frame, compressor).await,
        OpCode::KillCursors => cursors::kill(session, &frame).await,
        OpCode::Insert | OpCode::Update | OpCode::Delete => writes::serve(session, frame, held).await,
        other => Err(End::Protocol(WireError::Unsupported(other))),
    }
}

/// Gives the client an OP_REPLY.
async fn reply(session: &mut Session, reply: BytesMut, compressor: Option<Compressor>) -> Result<(), End> {
    compression::answer(session, reply, compressor).await
}
