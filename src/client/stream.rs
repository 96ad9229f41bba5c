//! Large replies are passed on while they arrive.
//!
//! The head of a successful `find`, `aggregate` or `getMore` reply says how long its batch is, so where the tail
//! begins. Everything before the tail is passed on as it comes; the tail is read whole, and the cursor that it names
//! is remembered before its last byte goes out. So a `getMore` that follows always finds its node.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::time::Instant;

use super::{
    exhaust,
    inbound::ReplyTo,
    pace::{Pace, STALL},
    pin::{namespace, remember},
    session::{End, Session},
};
use crate::{
    command::{Reply, Request},
    net::{
        Permit,
        budget::{SMALL, transfer_time},
    },
    pool::Lease,
    upstream::{Failure, Reason},
    wire::{Header, OpCode, RawDoc, op_msg},
};

/// Bytes in which the head lies: header, flags, section kind, document length, `cursor`, and `firstBatch`.
const HEAD_LEN: usize = 64;
/// Where the body's first field begins: behind header, flags, section kind and document length.
const FIRST_FIELD: usize = 16 + 4 + 1 + 4;

/// What the head of a streamable reply tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    length: usize,
    /// Where the fields behind the batch begin.
    tail_at: usize,
    /// Where the cursor document ends.
    cursor_end: usize,
    /// The number of this reply, if another follows that names it.
    followed: Option<i32>,
}

impl Head {
    /// Whether another reply follows.
    pub(super) fn is_followed(&self) -> bool {
        self.followed.is_some()
    }
}

/// Waits for the head of a large reply. `None` if it must be held whole.
pub(super) async fn head(
    lease: &mut Lease,
    header: &Header,
    request: &Request,
) -> Result<Option<Head>, Failure> {
    if header.op_code != OpCode::Msg || !request.may_have_cursor() {
        return Ok(None);
    }
    let filled = lease.socket().fill_to(HEAD_LEN.min(header.length)).await;
    filled.map_err(|error| Failure::maybe_sent(lease.because(Reason::Io(error))))?;
    let chained = request.takes_exhaust();
    Ok(parse_head(lease.socket().buffered(), header.length, chained))
}

fn parse_head(bytes: &[u8], length: usize, chained: bool) -> Option<Head> {
    // A checksum would have to be made anew over all that has gone out.
    let required = op_msg::peek_flags(bytes).ok()? & 0xffff;
    let followed = required == op_msg::MORE_TO_COME && chained;
    if (required != 0 && !followed) || *bytes.get(20)? != 0 {
        return None;
    }
    let followed = if followed {
        Some(i32::from_le_bytes(*bytes.get(4..)?.first_chunk()?))
    } else {
        None
    };
    let cursor_at = FIRST_FIELD + b"\x03cursor\0".len();
    if bytes.get(FIRST_FIELD..cursor_at)? != b"\x03cursor\0" {
        return None;
    }
    let cursor_end = cursor_at.checked_add(length_at(bytes, cursor_at)?)?;
    let batch_name = bytes.get(cursor_at + 4..)?;
    let names = [&b"\x04firstBatch\0"[..], b"\x04nextBatch\0"];
    let name = names.into_iter().find(|name| batch_name.starts_with(name))?;
    let batch_at = cursor_at + 4 + name.len();
    let tail_at = batch_at.checked_add(length_at(bytes, batch_at)?)?;
    let fits = tail_at < cursor_end && cursor_end < length && length - tail_at <= SMALL;
    fits.then_some(Head {
        length,
        tail_at,
        cursor_end,
        followed,
    })
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let raw = bytes.get(at..)?.first_chunk::<4>()?;
    usize::try_from(i32::from_le_bytes(*raw))
        .ok()
        .filter(|length| *length >= 5)
}

/// Passes the reply through. A client that stops reading does not keep the node's connection as long as there is room for
/// the rest in the byte budget.
///
/// # Errors
/// When either side fails: a part may have gone out, so the client's connection is of no use any more.
pub(super) async fn pass_through(
    session: &mut Session,
    mut lease: Lease,
    head: Head,
    request: &Request,
    reply_to: ReplyTo,
) -> Result<(), End> {
    session.counters().streams.one();
    session.counters().sent_bytes.add(head.length as u64);
    let (mut pace, mut at) = (session.pace(), 0);
    while at < head.tail_at {
        if lease.socket().buffered().is_empty() {
            let asked = Instant::now();
            let read = lease.socket().fill().await;
            // What the node takes is not the client's fault.
            pace.idled(asked.elapsed());
            some_of(&lease, read)?;
        }
        let mut part = lease.socket().take_some(head.tail_at - at);
        if at == 0 {
            part[8..12].copy_from_slice(&reply_to.request_id.to_le_bytes());
        }
        at += part.len();
        if let Written::Stalled(room) = write(session, &mut part, head.length - at, &mut pace, &lease).await?
        {
            lease.socket().make_room(head.length - at);
            let rest = read_rest(&mut lease, head.length - at).await?;
            let tail_at = rest.len() - (head.length - head.tail_at);
            finish(session, &mut lease, &rest[tail_at..], head, request);
            drop(lease);
            session.write_at_pace(&part, room.is_some()).await?;
            session.write_at_pace(&rest, room.is_some()).await?;
            drop(room);
            return Ok(());
        }
    }
    let tail = read_rest(&mut lease, head.length - head.tail_at).await?;
    finish(session, &mut lease, &tail, head, request);
    drop(lease);
    session.write_at_pace(&tail, false).await
}

/// Passes one reply of a chain through as number `id`. What the client does not take stays with the node, for as long as it
/// may ([`exhaust::give`]).
///
/// # Errors
/// As [`pass_through`].
pub(super) async fn pass_on(
    session: &mut Session,
    lease: &mut Lease,
    head: Head,
    request: &Request,
    reply_to: ReplyTo,
    id: i32,
) -> Result<(), End> {
    session.counters().streams.one();
    let mut at = 0;
    while at < head.tail_at {
        if lease.socket().buffered().is_empty() {
            let read = lease.socket().fill().await;
            some_of(lease, read)?;
        }
        let mut part = lease.socket().take_some(head.tail_at - at);
        if at == 0 {
            part[4..8].copy_from_slice(&id.to_le_bytes());
            part[8..12].copy_from_slice(&reply_to.request_id.to_le_bytes());
        }
        at += part.len();
        exhaust::give(session, part).await?;
    }
    let tail = read_rest(lease, head.length - head.tail_at).await?;
    finish(session, lease, &tail, head, request);
    exhaust::give(session, tail).await
}

/// How far a part came.
enum Written {
    /// The client has it.
    All,
    /// The client takes nothing just now, and there is room for the rest of the reply.
    Stalled(Option<Permit>),
}

/// Writes `part`, which is followed by `left` more bytes. What stays in `part` is not yet written.
async fn write(
    session: &mut Session,
    part: &mut BytesMut,
    left: usize,
    pace: &mut Pace,
    lease: &Lease,
) -> Result<Written, End> {
    while !part.is_empty() {
        match tokio::time::timeout(STALL, session.client.write_some(part)).await {
            Ok(count) => {
                let count = count?;
                part.advance(count);
                pace.took(count, Instant::now());
            }
            Err(_) => {
                if let Ok(room) = session.shared.replies.try_acquire(left) {
                    return Ok(Written::Stalled(room));
                }
            }
        }
        if !part.is_empty() && pace.is_too_slow(lease.is_waited_for(), Instant::now()) {
            return Err(End::TooSlow(left));
        }
    }
    Ok(Written::All)
}

/// Takes all that is left of the reply.
async fn read_rest(lease: &mut Lease, length: usize) -> Result<BytesMut, End> {
    let limit = transfer_time(length);
    let filled = tokio::time::timeout(limit, lease.socket().fill_to(length)).await;
    let filled = filled.map_err(|_| broken(Reason::ReplyTimeout(limit)))?;
    filled.map_err(|error| broken(lease.because(Reason::Io(error))))?;
    Ok(lease.socket().take_some(length))
}

/// Ends the reply: the cursor is remembered, and the connection is free unless another follows.
fn finish(session: &Session, lease: &mut Lease, tail: &[u8], head: Head, request: &Request) {
    lease.finish(head.followed);
    let cursor = cursor(tail, head);
    let cursor = cursor.as_deref().and_then(|cursor| RawDoc::prefix(cursor).ok());
    let reply = Reply {
        ok: true,
        cursor_id: cursor.and_then(cursor_id),
        ..Default::default()
    };
    let node = lease.pool().address();
    remember(session, &reply, node, request, || namespace(cursor?));
}

/// Something of the reply must have been read.
fn some_of(lease: &Lease, read: io::Result<usize>) -> Result<(), End> {
    match read {
        Ok(0) => Err(broken(lease.because(Reason::Closed))),
        Ok(_) => Ok(()),
        Err(error) => Err(broken(lease.because(Reason::Io(error)))),
    }
}

fn broken(reason: Reason) -> End {
    End::StreamBroken(Failure::replied(reason))
}

/// The cursor's fields behind the batch, as a document.
fn cursor(tail: &[u8], head: Head) -> Option<BytesMut> {
    let fields = tail.get(..head.cursor_end - head.tail_at)?;
    let mut document = BytesMut::with_capacity(fields.len() + 4);
    document.extend_from_slice(&(fields.len() as i32 + 4).to_le_bytes());
    document.extend_from_slice(fields);
    Some(document)
}

fn cursor_id(cursor: RawDoc<'_>) -> Option<i64> {
    cursor.get("id").ok()??.as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, doc};

    fn message(body: &Document) -> BytesMut {
        let mut out = BytesMut::new();
        op_msg::encode(
            RawDoc::prefix(&body.to_vec().unwrap()).unwrap(),
            1,
            2,
            0,
            &mut out,
        );
        out
    }

    fn batch(documents: usize) -> Vec<Document> {
        (0..documents)
            .map(|n| doc! {"_id": n as i64, "id": 5i64, "pad": "x".repeat(100)})
            .collect()
    }

    #[test]
    fn the_tail_is_found_and_names_the_cursor() {
        for name in ["firstBatch", "nextBatch"] {
            let reply = doc! {"cursor": {name: batch(1000), "postBatchResumeToken": {"id": 1}, "id": 1i64 << 50, "ns": "d.c"}, "ok": 1.0};
            let bytes = message(&reply);
            let head = parse_head(&bytes[..HEAD_LEN], bytes.len(), false).unwrap();
            let cursor = cursor(&bytes[head.tail_at..], head).unwrap();
            let cursor = RawDoc::prefix(&cursor).unwrap();
            assert_eq!(cursor_id(cursor), Some(1 << 50));
            assert_eq!(namespace(cursor).as_deref(), Some("d.c"));
            assert!(
                bytes.len() - head.tail_at < 150,
                "all documents lie before the tail"
            );
        }
    }

    #[test]
    fn that_another_reply_follows_is_seen_only_where_chains_are_asked_for() {
        let reply = doc! {"cursor": {"nextBatch": batch(100), "id": 5i64, "ns": "d.c"}, "ok": 1.0};
        let mut bytes = message(&reply);
        let parse = |bytes: &[u8], chained| parse_head(&bytes[..HEAD_LEN], bytes.len(), chained);
        assert!(!parse(&bytes, true).unwrap().is_followed());
        bytes[16] = op_msg::MORE_TO_COME as u8;
        assert_eq!(parse(&bytes, true).unwrap().followed, Some(1));
        assert_eq!(parse(&bytes, false), None);
        bytes[16] |= op_msg::CHECKSUM_PRESENT as u8;
        assert_eq!(parse(&bytes, true), None);
    }

    #[test]
    fn other_replies_are_held_whole() {
        let table = [
            doc! {"ok": 0.0, "errmsg": "x".repeat(100), "code": 1},
            doc! {"cursor": {"id": 0i64, "firstBatch": batch(2), "ns": "d.c"}, "ok": 1.0},
            doc! {"cursor": {"firstBatch": "no array, but as long as one might be in the first place"}, "ok": 1.0},
            doc! {"values": batch(10), "ok": 1.0},
            doc! {"cursor": {"firstBatch": batch(1), "id": 0i64, "big": "x".repeat(SMALL)}, "ok": 1.0},
        ];
        for reply in table {
            let bytes = message(&reply);
            assert_eq!(
                parse_head(&bytes[..HEAD_LEN.min(bytes.len())], bytes.len(), true),
                None,
                "{reply}"
            );
        }
    }

    #[test]
    fn lying_lengths_in_the_head_are_not_followed() {
        let good = message(&doc! {"cursor": {"firstBatch": batch(10), "id": 0i64, "ns": "d.c"}, "ok": 1.0});
        for at in 0..HEAD_LEN {
            for value in [0, 1, 4, 0x7f, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                if let Some(head) = parse_head(&bytes[..HEAD_LEN], bytes.len(), true) {
                    assert!(head.tail_at < head.cursor_end && head.cursor_end < bytes.len());
                    let cursor = cursor(&bytes[head.tail_at..], head);
                    let cursor = cursor.as_deref().and_then(|cursor| RawDoc::prefix(cursor).ok());
                    let _ = cursor.and_then(cursor_id);
                }
            }
        }
    }
}
