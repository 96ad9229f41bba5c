//! Changes to a request on its way upstream: a few bytes spliced in or patched in place.
//!
//! Every function leaves the document lengths right. The checksum is refreshed once, by the caller, when the message has
//! its final number.

use std::sync::LazyLock;

use bson::{RawDocumentBuf, raw::cstr, rawdoc};

use super::request::{MaxTime, Request};
use crate::{
    topology::ReadPreference,
    wire::{Frame, MAX_MESSAGE_LEN, RawDoc, op_msg},
};

/// `$readPreference: {mode: "secondaryPreferred"}` as a BSON element.
static SECONDARY_PREFERRED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let document = rawdoc! { "$readPreference": { "mode": "secondaryPreferred" } };
    let bytes = document.as_bytes();
    bytes[4..bytes.len() - 1].to_vec()
});

/// Adds a read preference: `preference`, or the one without which a secondary refuses. Done once: a second call finds it there.
///
/// # Errors
/// As [`append_field`].
pub fn append_read_preference(
    frame: &mut Frame,
    request: &mut Request,
    preference: Option<&ReadPreference>,
) -> Result<(), usize> {
    if std::mem::replace(&mut request.read_preference_added, true) {
        return Ok(());
    }
    let Some(preference) = preference else {
        return append_field(frame, request, &SECONDARY_PREFERRED);
    };
    let mut field = RawDocumentBuf::new();
    field.append(cstr!("$readPreference"), preference.to_document());
    let bytes = field.as_bytes();
    append_field(frame, request, &bytes[4..bytes.len() - 1])
}

/// Changes the mode of a read preference from `primary` to `nearest`, which fits into the same bytes: for a member that is to serve
/// the request whatever it is. Leaves any other mode as it is.
pub fn accept_any_member(frame: &mut Frame, request: &Request) {
    let Some(span) = request.read_preference else {
        return;
    };
    let mode = RawDoc::prefix(span.of(frame.bytes())).and_then(|preference| preference.get("mode"));
    if let Ok(Some(mode)) = mode
        && mode.as_str_bytes() == Some(b"primary")
    {
        // A string's value begins with its length.
        let at = span.start() + mode.value_start + 4;
        frame.patch(at, b"nearest");
    }
}

/// Splices `field` (a whole BSON element: type, name, value) in as the last one of the request's body.
///
/// Offsets that `request` holds stay right, because everything that they point at lies before the splice.
///
/// # Errors
/// The length that the message would have, when that is above [`MAX_MESSAGE_LEN`]. The message is unchanged then.
pub fn append_field(frame: &mut Frame, request: &mut Request, field: &[u8]) -> Result<(), usize> {
    let length = frame.bytes().len() + field.len();
    if length > MAX_MESSAGE_LEN {
        return Err(length);
    }
    let layout = &mut request.layout;
    frame.splice(layout.body_at + layout.body_len - 1, field);
    layout.body_len += field.len();
    let body_at = layout.body_at;
    frame.patch(body_at, &(layout.body_len as i32).to_le_bytes());
    Ok(())
}

/// Splices `field` (a whole BSON element) in as the last one of a reply's body; does nothing to a message that cannot be
/// parsed or would become too large. The caller refreshes the checksum.
pub fn append_to_reply(frame: &mut Frame, field: &[u8]) {
    let Ok(layout) = op_msg::Layout::parse(frame.bytes()) else {
        return;
    };
    if frame.bytes().len() + field.len() > MAX_MESSAGE_LEN {
        return;
    }
    frame.splice(layout.body_at + layout.body_len - 1, field);
    let length = (layout.body_len + field.len()) as i32;
    frame.patch(layout.body_at, &length.to_le_bytes());
}

/// Replaces the value of `maxTimeMS` by `millis`, in the type that it has.
pub fn set_max_time(frame: &mut Frame, max: &MaxTime, millis: u64) {
    let at = max.span.start();
    match max.kind {
        0x10 => frame.patch(at, &i32::try_from(millis).unwrap_or(i32::MAX).to_le_bytes()),
        0x12 => frame.patch(at, &i64::try_from(millis).unwrap_or(i64::MAX).to_le_bytes()),
        0x01 => frame.patch(at, &(millis as f64).to_le_bytes()),
        _ => {}
    }
}

/// Clears flag bits, so that exactly one reply comes unless a stream of them was asked for and may come: with `moreToCome` a node sends none, and a node that stepped down
/// drops the write without a word; with `exhaustAllowed` it may send many.
pub fn demand_reply(frame: &mut Frame, request: &mut Request) {
    if request.takes_exhaust() {
        return;
    }
    let flags = request.layout.flags & !(op_msg::MORE_TO_COME | op_msg::EXHAUST_ALLOWED);
    if flags != request.layout.flags {
        request.layout.flags = flags;
        op_msg::set_flags(frame, flags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{RawDoc, op_msg::Layout};
    use bson::{Bson, Document, doc};
    use bytes::BytesMut;

    fn frame(body: &Document, tail: &[u8]) -> (Frame, Request) {
        let mut out = BytesMut::new();
        op_msg::encode(
            RawDoc::prefix(&body.to_vec().unwrap()).unwrap(),
            1,
            0,
            0,
            &mut out,
        );
        out.extend_from_slice(tail);
        let length = out.len() as i32;
        out[0..4].copy_from_slice(&length.to_le_bytes());
        let request = Request::peek(&out, Layout::parse(&out).unwrap()).unwrap();
        (Frame::new(out).unwrap(), request)
    }

    fn body_of(frame: &Frame) -> Document {
        let layout = Layout::parse(frame.bytes()).unwrap();
        Document::from_reader(layout.body(frame.bytes()).unwrap().bytes()).unwrap()
    }

    #[test]
    fn a_field_is_appended_before_a_sequence_that_follows() {
        let document = doc! {"x": 1}.to_vec().unwrap();
        let sequence = [
            &[1][..],
            &(4 + 2 + document.len() as i32).to_le_bytes(),
            b"d\0",
            &document,
        ]
        .concat();
        let (mut frame, mut request) = frame(&doc! {"insert": "c", "$db": "d"}, &sequence);
        let field = doc! {"extra": {"mode": "nearest"}}.to_vec().unwrap();
        append_field(&mut frame, &mut request, &field[4..field.len() - 1]).unwrap();
        assert_eq!(
            body_of(&frame),
            doc! {"insert": "c", "$db": "d", "extra": {"mode": "nearest"}}
        );
        assert!(frame.bytes().ends_with(&sequence));
        assert_eq!(Layout::parse(frame.bytes()).unwrap(), request.layout);
        assert_eq!(request.db(frame.bytes()), b"d");
    }

    #[test]
    fn a_read_preference_is_added_only_once() {
        let (mut frame, mut request) = frame(&doc! {"find": "c", "$db": "d"}, &[]);
        append_read_preference(&mut frame, &mut request, None).unwrap();
        append_read_preference(&mut frame, &mut request, None).unwrap();
        let expected = doc! {"find": "c", "$db": "d", "$readPreference": {"mode": "secondaryPreferred"}};
        assert_eq!(frame.bytes().len(), 21 + expected.to_vec().unwrap().len());
        assert_eq!(body_of(&frame), expected);
    }

    #[test]
    fn a_demand_for_the_primary_becomes_one_for_any_member() {
        for (mode, expected) in [("primary", "nearest"), ("secondary", "secondary")] {
            let body = doc! {"find": "c", "$readPreference": {"x": 1, "mode": mode}, "$db": "d"};
            let (mut frame, request) = frame(&body, &[]);
            accept_any_member(&mut frame, &request);
            let expected = doc! {"x": 1, "mode": expected};
            assert_eq!(
                body_of(&frame).get_document("$readPreference").unwrap(),
                &expected
            );
        }
    }

    #[test]
    fn max_time_keeps_its_type() {
        for (value, expected) in [
            (Bson::Int32(500), Bson::Int32(42)),
            (Bson::Int64(500), Bson::Int64(42)),
            (Bson::Double(500.0), Bson::Double(42.0)),
        ] {
            let (mut frame, request) = frame(&doc! {"find": "c", "maxTimeMS": value, "$db": "d"}, &[]);
            set_max_time(&mut frame, &request.max_time.unwrap(), 42);
            assert_eq!(body_of(&frame).get("maxTimeMS"), Some(&expected));
        }
    }

    #[test]
    fn a_reply_grows_by_a_field_and_stays_whole() {
        let (mut frame, _) = frame(&doc! {"n": 1, "ok": 1.0, "$db": "d"}, &[]);
        let field = doc! {"recoveryToken": {"recoveryShardId": "set"}}
            .to_vec()
            .unwrap();
        append_to_reply(&mut frame, &field[4..field.len() - 1]);
        let expected = doc! {"n": 1, "ok": 1.0, "$db": "d", "recoveryToken": {"recoveryShardId": "set"}};
        assert_eq!(body_of(&frame), expected);
        assert_eq!(frame.bytes().len(), frame.header().length);
    }

    #[test]
    fn a_reply_is_demanded_of_unacknowledged_and_exhaust_requests() {
        let (mut frame, mut request) = frame(&doc! {"insert": "c", "$db": "d"}, &[]);
        let flags = op_msg::MORE_TO_COME | op_msg::EXHAUST_ALLOWED | 1 << 20;
        op_msg::set_flags(&mut frame, flags);
        request.layout.flags = flags;
        demand_reply(&mut frame, &mut request);
        assert_eq!(op_msg::peek_flags(frame.bytes()).unwrap(), 1 << 20);
        assert_eq!(request.layout.flags, 1 << 20);
    }
}
