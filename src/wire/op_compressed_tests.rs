//! Messages wrapped and unwrapped, and envelopes that lie.

use proptest::prelude::*;

use super::*;
use crate::wire::{RawDoc, op_msg};

const ALL: [Compressor; 4] = [
    Compressor::Noop,
    Compressor::Snappy,
    Compressor::Zlib,
    Compressor::Zstd,
];

fn message(op_code: OpCode, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        length: HEADER_LEN + payload.len(),
        request_id: 7,
        response_to: 9,
        op_code,
    };
    [&header.to_bytes()[..], payload].concat()
}

/// An OP_COMPRESSED made by hand.
fn wrapped(op_code: i32, size: i32, compressor: u8, payload: &[u8]) -> Frame {
    let fields = [
        &op_code.to_le_bytes()[..],
        &size.to_le_bytes(),
        &[compressor],
        payload,
    ]
    .concat();
    Frame::new(BytesMut::from(&message(OpCode::Compressed, &fields)[..])).unwrap()
}

fn payload_of(compressor: Compressor, payload: &[u8]) -> Vec<u8> {
    let wrapped = deflate(&message(OpCode::Msg, payload), compressor, -1).unwrap();
    wrapped[ENVELOPE_LEN..].to_vec()
}

#[test]
fn a_message_of_each_opcode_comes_back_with_its_ids() {
    for op_code in [OpCode::Msg, OpCode::Query, OpCode::Reply, OpCode::Insert] {
        let original = message(op_code, &b"tide".repeat(100));
        for compressor in ALL {
            let frame = Frame::new(deflate(&original, compressor, -1).unwrap()).unwrap();
            assert_eq!(
                (
                    frame.header().op_code,
                    frame.header().request_id,
                    frame.header().response_to
                ),
                (OpCode::Compressed, 7, 9)
            );
            let (inside, by) = inflate(&frame).unwrap();
            assert_eq!((inside.bytes(), by), (&original[..], compressor));
            assert_eq!(inflated_len(frame.bytes()), Some(original.len()));
            assert_eq!(inflated_len(&original), None);
        }
    }
}

#[test]
fn a_checksum_inside_covers_the_message_as_it_was() {
    let body = bson::doc! {"ping": 1, "$db": "admin"}.to_vec().unwrap();
    let mut original = BytesMut::new();
    op_msg::encode(RawDoc::prefix(&body).unwrap(), 3, 0, 0, &mut original);
    op_msg::append_checksum(&mut original);
    let frame = Frame::new(deflate(&original, Compressor::Zstd, -1).unwrap()).unwrap();
    let (inside, _) = inflate(&frame).unwrap();
    assert!(op_msg::Layout::parse(inside.bytes()).is_ok());
}

#[test]
fn bombs_and_lies_are_refused() {
    const MSG: i32 = OpCode::Msg as i32;
    let max = (MAX_MESSAGE_LEN - HEADER_LEN) as i32;
    let sea = vec![0; 40_000_000];
    type Case = (&'static str, Frame, fn(&WireError) -> bool);
    let mut cases: Vec<Case> = vec![
        ("nested", wrapped(2012, 4, 0, b"tide"), |e| {
            matches!(e, WireError::NestedCompression)
        }),
        ("no opcode", wrapped(77, 4, 0, b"tide"), |e| {
            matches!(e, WireError::OpCode(77))
        }),
        ("compressor", wrapped(MSG, 4, 4, b"tide"), |e| {
            matches!(e, WireError::UnknownCompressor(4))
        }),
        ("empty", wrapped(MSG, 4, 1, b""), |e| {
            matches!(e, WireError::Announced { size: 4, max: 0 })
        }),
        ("noop", wrapped(MSG, 5, 0, b"tide"), |e| {
            matches!(e, WireError::Announced { max: 4, .. })
        }),
    ];
    for compressor in [1, 2, 3] {
        let bomb = payload_of(Compressor::try_from(compressor).unwrap(), &sea);
        for size in [-1, i32::MIN, max + 1, i32::MAX] {
            cases.push(("size", wrapped(MSG, size, compressor, &bomb), |e| {
                matches!(e, WireError::Announced { .. })
            }));
        }
        for size in [0, 4096, 39_999_999, 40_000_001] {
            cases.push(("bomb", wrapped(MSG, size, compressor, &bomb), |e| {
                matches!(e, WireError::Inflate { .. })
            }));
        }
        cases.push((
            "cut off",
            wrapped(MSG, 40_000_000, compressor, &bomb[..bomb.len() - 5]),
            |e| matches!(e, WireError::Inflate { .. }),
        ));
    }
    for compressor in [1, 2] {
        cases.push(("thin", wrapped(MSG, max, compressor, &[0; 100]), |e| {
            matches!(e, WireError::Announced { max: ..=103_200, .. })
        }));
    }
    for (name, frame, expected) in cases {
        let error = inflate(&frame).unwrap_err();
        assert!(expected(&error), "{name}: {error}");
        assert!(
            !error.is_answerable(),
            "{name}: as a mongod, such a connection is closed"
        );
    }
    let short = Frame::new(BytesMut::from(&message(OpCode::Compressed, &[0; 8])[..])).unwrap();
    assert!(matches!(inflate(&short), Err(WireError::Truncated(_))));
}

#[test]
fn what_would_outgrow_the_limit_stays_as_it_is() {
    let mut noise = vec![0u8; MAX_MESSAGE_LEN - HEADER_LEN];
    fastrand::Rng::with_seed(3).fill(&mut noise);
    let original = message(OpCode::Msg, &noise);
    for compressor in ALL {
        assert_eq!(deflate(&original, compressor, -1), None, "{compressor:?}");
    }
    let wrapped = deflate(&message(OpCode::Msg, b"x"), Compressor::Noop, -1).unwrap();
    assert_eq!(
        deflate(&wrapped, Compressor::Zstd, -1),
        None,
        "a message is compressed once"
    );
}

proptest! {
    #[test]
    fn what_is_wrapped_is_unwrapped(payload in prop::collection::vec(any::<u8>(), 0..2000)) {
        let original = message(OpCode::Msg, &payload);
        for compressor in ALL {
            let out = deflate(&original, compressor, -1).unwrap();
            prop_assert!(out.len() <= most_deflated(original.len()));
            let (inside, _) = inflate(&Frame::new(out).unwrap()).unwrap();
            prop_assert_eq!(inside.bytes(), &original[..]);
        }
    }

    #[test]
    fn random_envelopes_never_panic(fields in prop::collection::vec(any::<u8>(), 0..200), id in 0u8..5, size in 0i32..5000) {
        let frame = Frame::new(BytesMut::from(&message(OpCode::Compressed, &fields)[..])).unwrap();
        let _ = inflate(&frame);
        if let Ok((inside, _)) = inflate(&wrapped(2013, size, id, &fields)) {
            prop_assert_eq!(inside.payload().len(), size as usize);
        }
    }
}
