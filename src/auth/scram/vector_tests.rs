//! The examples that the specifications print, on both sides.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{
    Hash, Keys, Secret, Verifier,
    client::Conversation,
    message::{Reading, encode},
    server::ClientFirst,
};
use crate::auth::UserName;

struct Vector {
    hash: Hash,
    /// What PBKDF2 is given.
    prepared: &'static str,
    salt: &'static str,
    iterations: u32,
    client_nonce: &'static str,
    server_nonce: &'static str,
    proof: &'static str,
    signature: &'static str,
}

/// RFC 5802, section 5 (user `user`, password `pencil`).
const RFC_5802: Vector = Vector {
    hash: Hash::Sha1,
    prepared: "pencil",
    salt: "QSXCR+Q6sek8bf92",
    iterations: 4096,
    client_nonce: "fyko+d2lbbFgONRv9qkxdawL",
    server_nonce: "3rfcNHYJY1ZVvWVs7j",
    proof: "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    signature: "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
};

/// RFC 7677, section 3 (user `user`, password `pencil`).
const RFC_7677: Vector = Vector {
    hash: Hash::Sha256,
    prepared: "pencil",
    salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
    iterations: 4096,
    client_nonce: "rOprNGfwEbeRWgbNEkqO",
    server_nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    proof: "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    signature: "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
};

/// MongoDB Authentication specification, SCRAM-SHA-1 (user `user`, password `pencil`): the digest goes in for the password.
const MONGODB_SHA_1: Vector = Vector {
    hash: Hash::Sha1,
    prepared: "1c33006ec1ffd90f9cadcbcc0e118200",
    salt: "rQ9ZY3MntBeuP3E1TDVC4w==",
    iterations: 10_000,
    client_nonce: "fyko+d2lbbFgONRv9qkxdawL",
    server_nonce: "Ho+Vgk7qvUOKUwuWLIWg4l/9SraGMHEE",
    proof: "MC2T8BvbmWRckDw8oWl5IVghwCY=",
    signature: "UMWeI25JD1yNYZRMpZ4VHvhZ9e0=",
};

impl Vector {
    fn user() -> UserName {
        UserName::new("admin", "user")
    }

    fn salt(&self) -> Vec<u8> {
        Reading("vector").bytes(self.salt, "salt").unwrap()
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::new(Keys::derive(
            self.hash,
            self.prepared,
            &self.salt(),
            self.iterations,
        ))
    }

    fn verifier(&self) -> Arc<Verifier> {
        let keys = self.keys();
        let stored = self.hash.digest(keys.client_key.expose());
        let (stored, server) = (stored.expose(), keys.server_key.expose());
        Arc::new(Verifier::new(self.hash, &self.salt(), self.iterations, stored, server).unwrap())
    }

    fn server_first(&self) -> String {
        format!(
            "r={}{},s={},i={}",
            self.client_nonce, self.server_nonce, self.salt, self.iterations
        )
    }

    fn client_final(&self) -> String {
        format!(
            "c=biws,r={}{},p={}",
            self.client_nonce, self.server_nonce, self.proof
        )
    }
}

#[test]
fn the_client_says_what_the_specifications_print() {
    for vector in [RFC_5802, RFC_7677, MONGODB_SHA_1] {
        let (conversation, first) = Conversation::begin(vector.hash, &Vector::user(), vector.client_nonce);
        assert_eq!(first, format!("n,,n=user,r={}", vector.client_nonce).into_bytes());
        let secret = Secret::Keys(vector.keys());
        let (awaiting, proof) = conversation
            .respond(vector.server_first().as_bytes(), &secret)
            .unwrap();
        assert_eq!(String::from_utf8(proof).unwrap(), vector.client_final());
        let last = format!("v={}", vector.signature);
        assert_eq!(awaiting.verify(last.as_bytes()).unwrap(), vector.keys());
    }
}

#[test]
fn the_server_says_what_the_specifications_print() {
    for vector in [RFC_5802, RFC_7677, MONGODB_SHA_1] {
        let first = format!("n,,n=user,r={}", vector.client_nonce);
        let first = ClientFirst::parse(vector.hash, first.as_bytes()).unwrap();
        assert_eq!(first.user_name(), "user");
        let (challenged, challenge) = first.challenge(vector.verifier(), vector.server_nonce);
        assert_eq!(String::from_utf8(challenge).unwrap(), vector.server_first());
        let (last, keys) = challenged.finish(vector.client_final().as_bytes()).unwrap();
        assert_eq!(last, format!("v={}", vector.signature).into_bytes());
        assert_eq!(
            keys,
            *vector.keys(),
            "the client's key is recovered from its proof"
        );
    }
}

#[test]
fn a_password_is_prepared_as_each_mechanism_wants() {
    for (vector, password) in [(RFC_7677, "pencil"), (MONGODB_SHA_1, "pencil")] {
        let secret = Secret::Password(Zeroizing::new(password.to_owned()));
        let keys = secret.keys(vector.hash, &Vector::user(), &vector.salt(), vector.iterations);
        assert_eq!(keys.unwrap(), vector.keys());
        let made = Verifier::from_password(
            vector.hash,
            &Vector::user(),
            password,
            &vector.salt(),
            vector.iterations,
        );
        assert_eq!(made.unwrap(), *vector.verifier());
    }
}

#[test]
fn names_with_commas_and_signs_go_through() {
    let user = UserName::new("admin", "a=b,c");
    let (_, first) = Conversation::begin(Hash::Sha256, &user, "abcdef");
    assert_eq!(first, b"n,,n=a=3Db=2Cc,r=abcdef");
    let read = ClientFirst::parse(Hash::Sha256, &first).unwrap();
    assert_eq!(read.user_name(), "a=b,c");
    assert_eq!(encode(b"n,,"), "biws");
}
