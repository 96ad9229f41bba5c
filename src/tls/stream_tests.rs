//! What the stream promises to those who read and write it.

use std::{os::fd::AsFd, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    Stream,
    session_tests::strangers,
    testing::Authority,
    tests::{plain_pair, shake, tcp},
};

async fn pair() -> (Stream, Stream) {
    let authority = Authority::new();
    let (connector, acceptor) = plain_pair(&authority);
    let (client, server) = shake(&connector, "localhost", &acceptor).await;
    (client.unwrap(), server.unwrap())
}

/// With a server that issues tickets.
async fn pair_of(version: &'static rustls::SupportedProtocolVersion) -> (Stream, Stream) {
    let (client, server) = strangers(version);
    let (dialled, accepted) = tcp().await;
    let (client, server) = tokio::join!(
        Stream::shake_hands(dialled, client),
        Stream::shake_hands(accepted, server)
    );
    (client.unwrap(), server.unwrap())
}

/// Takes what has come for a stream from its socket, as it came.
async fn intercept(stream: &Stream) -> Vec<u8> {
    let mut ciphertext = vec![0; 100_000];
    loop {
        stream.tcp().readable().await.unwrap();
        if let Ok(count) = stream.tcp().try_read(&mut ciphertext) {
            ciphertext.truncate(count);
            return ciphertext;
        }
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn all_that_was_accepted_arrives_without_another_call() {
    let (mut client, mut server) = pair().await;
    let message = pattern(48_000_000);
    let expected = message.clone();
    let reading = tokio::spawn(async move {
        let mut got = Vec::new();
        while got.len() < expected.len() {
            // A buffer of odd length, smaller than a record.
            let mut part = [0; 7001];
            let count = server.read(&mut part).await.unwrap();
            assert_ne!(count, 0);
            got.extend_from_slice(&part[..count]);
        }
        assert!(got == expected);
        server
    });
    let mut written = 0;
    while written < message.len() {
        // What does not go at once is waited for by hand, as sockets' owners do.
        match client.try_write(&message[written..]) {
            Ok(count) => written += count,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                client.tcp().writable().await.unwrap();
            }
        }
    }
    // No call on the client any more: what is missing would stay missing.
    timeout(Duration::from_secs(20), reading).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_not_said_to_have_taken_all() {
    let (mut client, mut server) = pair().await;
    let message = pattern(40_000_000);
    let mut written = 0;
    while let Ok(count) = client.try_write(&message[written..]) {
        written += count;
    }
    assert!(0 < written && written < message.len());
    assert!(
        (1..200_000).contains(&client.buffered()),
        "what the socket did not take, and no more"
    );
    assert!(
        client.try_write(&message[written..]).is_err(),
        "and that does not change by asking"
    );
    let mut got = vec![0; message.len()];
    let (sent, read) = tokio::join!(client.write_all(&message[written..]), server.read_exact(&mut got));
    sent.unwrap();
    read.unwrap();
    assert!(got == message);
    assert_eq!((client.buffered(), server.buffered()), (0, 0));
}

#[tokio::test]
async fn large_messages_pass_both_ways_at_once_and_leave_no_buffer() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (mut client, mut server) = pair_of(version).await;
        let message = pattern(16_000_000);
        let both_ways = async |stream: &mut Stream| {
            let (mut reading, mut writing) = tokio::io::split(stream);
            let mut got = vec![0; message.len()];
            let (read, written) = tokio::join!(reading.read_exact(&mut got), writing.write_all(&message));
            read.unwrap();
            written.unwrap();
            assert!(got == message);
        };
        tokio::join!(both_ways(&mut client), both_ways(&mut server));
        assert_eq!((client.buffered(), server.buffered()), (0, 0));
    }
}

#[tokio::test]
async fn tickets_are_no_news_and_leave_no_buffer() {
    let (mut client, server) = pair_of(&rustls::version::TLS13).await;
    client.tcp().readable().await.unwrap();
    assert!(!client.has_news());
    assert_eq!((client.buffered(), server.buffered()), (0, 0));
}

#[tokio::test]
async fn bytes_that_drip_are_put_together() {
    let (mut client, server) = pair().await;
    // A relay in between that passes on a byte at a time.
    let message = pattern(300);
    client.write_all(&message).await.unwrap();
    let ciphertext = intercept(&server).await;
    let (mut near, far) = tcp().await;
    near.set_nodelay(true).unwrap();
    let mut server = server.onto(far);
    let dripping = async {
        for byte in &ciphertext {
            near.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let mut got = vec![0; 300];
    let (read, ()) = tokio::join!(server.read_exact(&mut got), dripping);
    read.unwrap();
    assert_eq!(got, message);
    assert_eq!(server.buffered(), 0);
}

#[tokio::test]
async fn an_end_within_a_record_is_an_end_after_what_was_whole() {
    let (mut client, server) = pair().await;
    client.write_all(b"insert").await.unwrap();
    let mut ciphertext = intercept(&server).await;
    client.write_all(b"never").await.unwrap();
    ciphertext.extend(&intercept(&server).await[..9]);
    let (mut near, far) = tcp().await;
    let mut server = server.onto(far);
    near.write_all(&ciphertext).await.unwrap();
    let mut got = [0; 6];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"insert");
    assert!(server.buffered() > 0, "a record has begun");
    assert!(!server.has_news());
    drop(near);
    assert_eq!(server.read(&mut got).await.unwrap(), 0);
    assert!(server.has_news());
}

#[tokio::test]
async fn a_request_before_the_end_is_read_and_either_end_is_one() {
    for says_goodbye in [true, false] {
        let (mut client, mut server) = pair().await;
        client.write_all(b"insert").await.unwrap();
        if says_goodbye {
            client.shutdown().await.unwrap();
        } else {
            // The socket is closed behind the stream's back.
            rustix::net::shutdown(client.as_fd(), rustix::net::Shutdown::Write).unwrap();
        }
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"insert");
        // The other half is open still.
        server.write_all(b"done").await.unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"done");
    }
}

#[tokio::test]
async fn only_data_and_the_end_are_news() {
    let (mut client, mut server) = pair().await;
    assert!(!client.has_news());
    server.refresh_keys();
    server.tcp().writable().await.unwrap();
    client.tcp().readable().await.unwrap();
    assert!(!client.has_news(), "a message of TLS itself");
    server.write_all(b"unasked").await.unwrap();
    client.tcp().readable().await.unwrap();
    assert!(client.has_news());
    let mut got = [0; 7];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"unasked", "looking takes nothing");
    assert!(!client.has_news());
    drop(server);
    client.tcp().readable().await.unwrap();
    assert!(client.has_news());
}

#[tokio::test]
async fn a_descriptor_shut_down_from_outside_ends_a_read() {
    let (mut client, _server) = pair().await;
    let outside = client.as_fd().try_clone_to_owned().unwrap();
    let waiting = tokio::spawn(async move { client.read(&mut [0; 10]).await });
    tokio::task::yield_now().await;
    rustix::net::shutdown(&outside, rustix::net::Shutdown::Both).unwrap();
    let ended = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)));
}

#[tokio::test]
async fn bytes_changed_on_the_way_break_the_connection() {
    let (mut client, mut server) = pair().await;
    client.write_all(b"a message").await.unwrap();
    // What comes behind is no record.
    client.tcp().try_write(&[0; 40]).unwrap();
    let mut got = Vec::new();
    assert!(server.read_to_end(&mut got).await.is_err());
    assert_eq!(got, b"a message");
    assert!(server.has_news());
    assert!(server.write_all(b"an answer").await.is_err());
    let told = client.read(&mut [0; 10]).await.unwrap_err().to_string();
    assert!(told.contains("DecodeError"), "{told}");
}
