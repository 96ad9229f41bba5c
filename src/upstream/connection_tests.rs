//! Compressed exchanges with a node that is played by the test.

use bson::{Document, doc, rawdoc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    failover::Sent,
    wire::{HEADER_LEN, op_compressed},
};

/// A connection, and the node's end of it.
async fn pair() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap());
    let (dialled, accepted) = tokio::join!(dialled, listener.accept());
    (Connection::new(dialled.unwrap()).unwrap(), accepted.unwrap().0)
}

fn message(body: &Document, response_to: i32) -> BytesMut {
    let mut out = BytesMut::new();
    let body = body.to_vec().unwrap();
    op_msg::encode(RawDoc::prefix(&body).unwrap(), 5, response_to, 0, &mut out);
    out
}

fn large(name: &str) -> Document {
    doc! { name: 1, "tide": "~".repeat(200_000), "$db": "admin" }
}

/// The next message that the node gets.
async fn received(node: &mut TcpStream) -> Frame {
    let mut header = [0; HEADER_LEN];
    node.read_exact(&mut header).await.unwrap();
    let length = i32::from_le_bytes(*header.first_chunk().unwrap()) as usize;
    let mut message = BytesMut::zeroed(length);
    message[..HEADER_LEN].copy_from_slice(&header);
    node.read_exact(&mut message[HEADER_LEN..]).await.unwrap();
    Frame::new(message).unwrap()
}

/// Sends a ping, and has the node answer it with `reply` made from its number. The node's end stays open.
async fn answered(reply: impl FnOnce(i32) -> BytesMut) -> (Connection, Result<Incoming, Failure>, TcpStream) {
    let (mut connection, mut node) = pair().await;
    connection
        .start(&rawdoc! { "ping": 1, "$db": "admin" }, 0)
        .await
        .unwrap();
    let id = received(&mut node).await.header().request_id;
    node.write_all(&reply(id)).await.unwrap();
    let reply = connection.reply(10_000).await;
    (connection, reply, node)
}

fn deflated(body: &Document, id: i32, compressor: Compressor) -> BytesMut {
    op_compressed::deflate(&message(body, id), compressor, -1).unwrap()
}

#[tokio::test]
async fn what_both_sides_can_read_is_passed_on_as_it_came_and_not_compressed_anew() {
    // By another level than the connection's, so that its own work would look different.
    let came = op_compressed::deflate(&message(&large("count"), 0), Compressor::Zlib, 0).unwrap();
    let inflate = async || {
        compression::inflate(Frame::new(came.clone()).unwrap())
            .await
            .unwrap()
            .0
    };
    for (by, change, is_passed_on) in [
        (Compressor::Zlib, false, true),
        (Compressor::Zlib, true, false),
        (Compressor::Zstd, false, false),
    ] {
        let (mut connection, mut node) = pair().await;
        connection.compress(by, 9);
        let mut request = inflate().await;
        if change {
            let last = request.bytes().len() - 2;
            request.patch(last, b"!");
        }
        let sent = connection.send(&mut request);
        let (sent, got) = tokio::join!(sent, received(&mut node));
        sent.unwrap();
        assert_eq!(
            got.bytes()[HEADER_LEN..] == came[HEADER_LEN..],
            is_passed_on,
            "{by:?} {change}"
        );
        assert_eq!(got.header().request_id, 1, "under the connection's own number");
        let (inflated, _) = op_compressed::inflate(&got).unwrap();
        assert_eq!(inflated.bytes(), request.bytes());
    }
}

#[tokio::test]
async fn a_compressed_reply_is_there_as_it_came() {
    let mut came = BytesMut::new();
    let (_connection, reply, _node) = answered(|id| {
        came = deflated(&doc! { "ok": 1, "tide": "~".repeat(500) }, id, Compressor::Snappy);
        came.clone()
    })
    .await;
    let Incoming::Whole(mut reply) = reply.unwrap() else {
        panic!("it is small");
    };
    assert_eq!(reply.packed(Compressor::Snappy), Some(&came[..]));
    reply.set_response_to(77);
    let packed = reply.take_packed(Compressor::Snappy).unwrap();
    assert_eq!((&packed[8..12], &packed[12..]), (&[77, 0, 0, 0][..], &came[12..]));
}

#[tokio::test]
async fn requests_are_compressed_but_those_that_must_not_be_and_stay_to_be_sent_again() {
    for compressor in Compressor::NEGOTIABLE {
        let (mut connection, mut node) = pair().await;
        connection.compress(compressor, -1);
        for (body, is_compressed) in [
            (doc! { "ping": 1, "$db": "admin" }, true),
            (large("ping"), true),
            (doc! { "hello": 1, "$db": "admin" }, false),
            (doc! { "saslStart": 1, "$db": "admin" }, false),
            (large("createUser"), false),
        ] {
            let mut request = Frame::new(message(&body, 0)).unwrap();
            for _ in 0..2 {
                let (sent, mut got) = tokio::join!(connection.send(&mut request), received(&mut node));
                sent.unwrap();
                assert_eq!(got.header().op_code == OpCode::Compressed, is_compressed);
                if is_compressed {
                    let (inflated, by) = op_compressed::inflate(&got).unwrap();
                    assert_eq!(by, compressor);
                    got = inflated;
                }
                assert_eq!(got.bytes(), request.bytes());
                let same = message(&body, 0);
                assert_eq!(request.payload(), &same[HEADER_LEN..]);
            }
        }
    }
}

#[tokio::test]
async fn compressed_replies_are_inflated_and_judged_by_the_room_that_they_take() {
    for compressor in Compressor::NEGOTIABLE {
        let small = doc! { "ok": 1.0 };
        let (_, reply, _) = answered(|id| deflated(&small, id, compressor)).await;
        match reply.unwrap() {
            Incoming::Whole(frame) => assert_eq!(frame.payload(), &message(&small, 0)[HEADER_LEN..]),
            Incoming::Large(header) => panic!("{header:?}"),
        }
        let big = large("ok");
        let (mut connection, reply, _node) = answered(|id| deflated(&big, id, compressor)).await;
        let Incoming::Large(header) = reply.unwrap() else {
            panic!("200 kB are not small, however few bytes they come in");
        };
        let whole = message(&big, 0);
        assert_eq!(connection.room_for(&header), header.length + whole.len());
        let frame = connection.rest(&header).await.unwrap();
        assert_eq!(frame.payload(), &whole[HEADER_LEN..]);
        assert!(!connection.is_stale());
    }
}

#[tokio::test]
async fn replies_that_lie_are_failures() {
    type Lie = fn(&mut BytesMut);
    let lies: [(&str, Lie); 7] = [
        ("more than there is", |reply| reply[20] ^= 1),
        ("less than there is", |reply| reply[21] = 0),
        ("a negative size", |reply| reply[23] = 0xff),
        ("above the limit", |reply| {
            reply[20..24].copy_from_slice(&i32::MAX.to_le_bytes())
        }),
        ("an unknown compressor", |reply| reply[24] = 9),
        ("nested", |reply| {
            reply[16..20].copy_from_slice(&2012_i32.to_le_bytes())
        }),
        ("damaged", |reply| {
            let last = reply.len() - 1;
            reply[last] ^= 0x55;
        }),
    ];
    for compressor in Compressor::NEGOTIABLE {
        for (name, lie) in lies {
            let body = doc! { "ok": 1.0, "tide": "~".repeat(300), "ebb": (0..40).collect::<Vec<i32>>() };
            let (mut connection, reply, _node) = answered(|id| {
                let mut reply = deflated(&body, id, compressor);
                lie(&mut reply);
                reply
            })
            .await;
            // Only zlib has a checksum: what is damaged may inflate to as many other bytes.
            if name == "damaged" && compressor != Compressor::Zlib && reply.is_ok() {
                continue;
            }
            let failure = reply.map(|_| ()).unwrap_err();
            assert_eq!(failure.sent, Sent::Replied, "{compressor:?}, {name}: {failure}");
            assert!(matches!(failure.reason, Reason::Wire(_)), "{name}: {failure}");
            assert!(
                connection.is_stale(),
                "{name}: such a connection is not used again"
            );
        }
    }
}
