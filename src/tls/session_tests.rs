//! What a session makes of what comes, in whatever pieces.

use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion, version};
use tokio::io::ReadBuf;

use super::{
    buffers::{self, UNFINISHED_MOST},
    identity::{self, IdentityFiles},
    provider,
    session::Session,
    testing::Authority,
};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// Both sides, the client's of this version alone, before a byte of the handshake has passed. The server issues tickets.
pub(super) fn strangers(version: &'static SupportedProtocolVersion) -> (Session, Session) {
    let authority = Authority::new();
    let files = IdentityFiles {
        certificate: authority.server(),
        key: None,
        password: None,
    };
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(files.load().unwrap().0);
    assert!(server.send_tls13_tickets > 0);
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(identity::roots(&authority.ca()).unwrap())
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    (
        Session::client(Arc::new(client), name).unwrap(),
        Session::server(Arc::new(server)).unwrap(),
    )
}

/// Both sides after the handshake, with all of it passed on.
fn sessions(version: &'static SupportedProtocolVersion) -> (Session, Session) {
    let (mut client, mut server) = strangers(version);
    while !client.outgoing().is_empty() || !server.outgoing().is_empty() {
        let (from_client, from_server) = (outgoing(&mut client), outgoing(&mut server));
        deliver(&from_client, &mut server);
        deliver(&from_server, &mut client);
    }
    assert!(!client.about().is_handshaking() && !server.about().is_handshaking());
    (client, server)
}

fn outgoing(session: &mut Session) -> Vec<u8> {
    let bytes = session.outgoing().to_vec();
    session.sent(bytes.len());
    bytes
}

fn deliver(ciphertext: &[u8], to: &mut Session) {
    let kept = to.kept();
    buffers::incoming(kept, |scratch| {
        let end = kept + ciphertext.len();
        scratch[kept..end].copy_from_slice(ciphertext);
        to.receive(&mut scratch[..end], None);
    });
}

fn encrypted(plaintext: &[u8], by: &mut Session) -> Vec<u8> {
    encrypted_with_room(0, plaintext, by)
}

/// In a buffer that may be too short at first.
fn encrypted_with_room(room: usize, plaintext: &[u8], by: &mut Session) -> Vec<u8> {
    let mut ciphertext = vec![0; room];
    let count = by.encrypt(plaintext, &mut ciphertext).unwrap();
    [outgoing(by), ciphertext[..count].to_vec()].concat()
}

fn plaintext(of: &mut Session) -> Vec<u8> {
    let mut room = vec![0; 100_000];
    let mut read = ReadBuf::new(&mut room);
    of.take_plaintext(&mut read);
    read.filled().to_vec()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn a_session_at_rest_owns_no_buffer() {
    for version in VERSIONS {
        let (mut client, mut server) = sessions(version);
        assert_eq!((client.buffered(), server.buffered()), (0, 0));
        for length in [1, 100, 16 << 10, 60_000] {
            let message = pattern(length);
            deliver(&encrypted(&message, &mut client), &mut server);
            assert!(server.buffered() > 0, "nobody has taken it");
            assert_eq!(plaintext(&mut server), message);
            deliver(&encrypted(&message, &mut server), &mut client);
            assert_eq!(plaintext(&mut client), message);
            assert_eq!((client.buffered(), server.buffered()), (0, 0), "after {length}");
        }
    }
}

#[test]
fn a_record_that_drips_is_decoded_with_its_last_byte() {
    for version in VERSIONS {
        let (mut client, mut server) = sessions(version);
        let message = pattern(16 << 10);
        let ciphertext = encrypted(&message, &mut client);
        for (at, byte) in ciphertext.iter().enumerate() {
            assert_eq!(server.kept(), at);
            assert!(!server.has_news());
            deliver(&[*byte], &mut server);
        }
        assert_eq!(plaintext(&mut server), message);
        assert_eq!(server.buffered(), 0);
    }
}

#[test]
fn a_handshake_that_drips_comes_to_its_end() {
    for version in VERSIONS {
        let (mut client, mut server) = strangers(version);
        while client.about().is_handshaking() || server.about().is_handshaking() {
            for byte in outgoing(&mut client) {
                deliver(&[byte], &mut server);
            }
            for byte in outgoing(&mut server) {
                deliver(&[byte], &mut client);
            }
            client.check().unwrap();
            server.check().unwrap();
        }
        deliver(&encrypted(b"insert", &mut client), &mut server);
        assert_eq!(plaintext(&mut server), b"insert");
        assert_eq!((client.buffered(), server.buffered()), (0, 0));
    }
}

#[test]
fn records_that_come_together_are_decoded_in_order_and_the_beginning_of_another_is_kept() {
    for version in VERSIONS {
        let (mut client, mut server) = sessions(version);
        let (mut ciphertext, mut expected) = (Vec::new(), Vec::new());
        for length in 0..100 {
            let message = pattern(length);
            ciphertext.extend(encrypted(&message, &mut client));
            if length == 50 && version.version == rustls::ProtocolVersion::TLSv1_3 {
                client.refresh_keys();
                ciphertext.extend(outgoing(&mut client));
            }
            expected.extend(message);
        }
        let last = encrypted(b"last", &mut client);
        let (begun, rest) = last.split_at(7);
        ciphertext.extend(begun);
        deliver(&ciphertext, &mut server);
        assert!(plaintext(&mut server) == expected);
        assert_eq!(server.kept(), begun.len());
        // Who writes in between does not disturb what is not whole.
        deliver(&encrypted(b"answer", &mut server), &mut client);
        assert_eq!(plaintext(&mut client), b"answer");
        deliver(rest, &mut server);
        assert_eq!(plaintext(&mut server), b"last");
        assert_eq!(server.buffered(), 0);
    }
}

#[test]
fn keys_that_change_are_no_news_and_fit_afterwards_in_both_directions() {
    let (mut client, mut server) = sessions(&version::TLS13);
    for room in [0, 30, 1000] {
        server.refresh_keys();
        deliver(&outgoing(&mut server), &mut client);
        assert!(!client.has_news());
        assert_eq!(client.buffered(), 0);
        // The client answers with a change of its own, ahead of its next data.
        deliver(&encrypted_with_room(room, b"insert", &mut client), &mut server);
        assert_eq!(plaintext(&mut server), b"insert");
        deliver(&encrypted(b"done", &mut server), &mut client);
        assert_eq!(plaintext(&mut client), b"done");
        assert_eq!((client.buffered(), server.buffered()), (0, 0));
    }
}

#[test]
fn what_came_before_a_broken_record_is_read_before_the_error_and_the_peer_is_told() {
    for version in VERSIONS {
        let (mut client, mut server) = sessions(version);
        let mut ciphertext = encrypted(b"whole", &mut client);
        let mut broken = encrypted(b"broken", &mut client);
        *broken.last_mut().unwrap() ^= 1;
        ciphertext.extend(broken);
        ciphertext.extend(encrypted(b"behind", &mut client));
        deliver(&ciphertext, &mut server);
        assert_eq!(plaintext(&mut server), b"whole");
        let said = server.check().unwrap_err().to_string();
        assert!(said.contains("decrypt"), "{said}");
        assert!(server.encrypt(b"more", &mut Vec::new()).is_err());
        deliver(&encrypted(b"later", &mut client), &mut server);
        assert_eq!(plaintext(&mut server), b"");
        deliver(&outgoing(&mut server), &mut client);
        let said = client.check().unwrap_err().to_string();
        assert!(said.contains("BadRecordMac"), "{said}");
    }
}

#[test]
fn what_comes_after_the_peers_goodbye_is_nothing() {
    for version in VERSIONS {
        let (mut client, mut server) = sessions(version);
        let mut ciphertext = encrypted(b"insert", &mut client);
        client.say_goodbye();
        ciphertext.extend(outgoing(&mut client));
        ciphertext.extend([0; 40]);
        deliver(&ciphertext, &mut server);
        deliver(&[0; 40], &mut server);
        assert!(server.has_ended() && server.check().is_ok());
        assert_eq!(plaintext(&mut server), b"insert");
        deliver(&encrypted(b"done", &mut server), &mut client);
        assert_eq!(plaintext(&mut client), b"done");
        server.say_goodbye();
        deliver(&outgoing(&mut server), &mut client);
        assert!(client.has_ended());
        assert_eq!((client.buffered(), server.buffered()), (0, 0));
        let error = server.encrypt(b"more", &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn an_end_within_a_handshake_message_leaves_nothing_to_say() {
    let (mut client, mut server) = strangers(&version::TLS13);
    let hello = outgoing(&mut client);
    // The message in two records, of which the second never comes.
    let (length, begun) = (100_u16.to_be_bytes(), &hello[5..105]);
    deliver(&[&[22, 3, 1][..], &length, begun].concat(), &mut server);
    assert!(server.kept() > 0 && server.check().is_ok());
    server.end();
    for _ in 0..2 {
        server.say_goodbye();
        assert_eq!(server.outgoing(), b"");
        assert!(server.encrypt(b"more", &mut Vec::new()).is_err());
    }
}

#[test]
fn a_handshake_message_without_an_end_is_not_kept_for_ever() {
    let (_, mut server) = strangers(&version::TLS13);
    // A ClientHello of 48 KiB, a byte in each record.
    let hello = [&[1, 0, 0xc0, 0][..], &[0; 48 << 10]].concat();
    for byte in hello {
        deliver(&[22, 3, 1, 0, 1, byte], &mut server);
        assert!(server.kept() <= UNFINISHED_MOST);
        if server.check().is_err() {
            assert_eq!(server.kept(), 0);
            return;
        }
    }
    panic!("all of it was kept");
}
