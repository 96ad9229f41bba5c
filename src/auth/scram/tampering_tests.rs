//! Conversations in which a message was changed on its way, and messages that are none.

use std::sync::Arc;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::{
    Hash, Iterations, Keys, ScramError, Secret, Verifier,
    client::{AwaitingFinal, Conversation},
    server::{Challenged, ClientFirst},
};
use crate::auth::UserName;

const HASHES: [Hash; 2] = [Hash::Sha1, Hash::Sha256];
const CLIENT_NONCE: &str = "client-nonce";
const SERVER_NONCE: &str = "server-nonce";

fn ann() -> UserName {
    UserName::new("admin", "ann")
}

fn password(text: &str) -> Secret {
    Secret::Password(Zeroizing::new(text.to_owned()))
}

fn verifier(hash: Hash) -> Arc<Verifier> {
    Arc::new(Verifier::from_password(hash, &ann(), "pencil", b"some salt", 4096).unwrap())
}

/// Both sides before the last but one message, each message on its way as `changed` made it.
fn converse(
    hash: Hash,
    verifier: Arc<Verifier>,
    secret: &Secret,
    changed: [&dyn Fn(String) -> String; 2],
) -> Result<(Challenged, AwaitingFinal, String), ScramError> {
    let text = |payload| String::from_utf8(payload).unwrap();
    let (conversation, first) = Conversation::begin(hash, &ann(), CLIENT_NONCE);
    let first = ClientFirst::parse(hash, changed[0](text(first)).as_bytes())?;
    let (challenged, challenge) = first.challenge(verifier, SERVER_NONCE);
    let challenge = changed[1](text(challenge));
    let (awaiting, proof) = conversation.respond(challenge.as_bytes(), secret)?;
    Ok((challenged, awaiting, text(proof)))
}

fn log_in(hash: Hash, verifier: Arc<Verifier>, secret: &Secret) -> Result<(Keys, Arc<Keys>), ScramError> {
    let same = |text| text;
    let (challenged, awaiting, proof) = converse(hash, verifier, secret, [&same, &same])?;
    let (last, keys) = challenged.finish(proof.as_bytes())?;
    Ok((keys, awaiting.verify(&last)?))
}

#[test]
fn a_password_logs_in_and_the_keys_of_that_login_log_in_again() {
    for hash in HASHES {
        let (recovered, derived) = log_in(hash, verifier(hash), &password("pencil")).unwrap();
        assert_eq!(recovered, *derived);
        let (again, _) = log_in(hash, verifier(hash), &Secret::Keys(Arc::new(recovered))).unwrap();
        assert_eq!(again, *derived);
    }
}

#[test]
fn a_wrong_password_an_unknown_user_and_a_changed_salt_are_refused_alike() {
    for hash in HASHES {
        let refused = |verifier, secret: &Secret| log_in(hash, verifier, secret).unwrap_err();
        assert_eq!(refused(verifier(hash), &password("pencils")), ScramError::Proof);
        let unknown = Arc::new(Verifier::unknown(hash, &ann(), &[1; 32], Iterations::default()));
        assert_eq!(refused(unknown, &password("pencil")), ScramError::Proof);
        let (keys, _) = log_in(hash, verifier(hash), &password("pencil")).unwrap();
        let salted = Verifier::from_password(hash, &ann(), "pencil", b"other salt", 4096).unwrap();
        let keys = Secret::Keys(Arc::new(keys));
        assert_eq!(refused(Arc::new(salted), &keys), ScramError::Proof);
    }
}

#[test]
fn the_stand_in_accepts_not_even_a_proof_of_its_own_keys() {
    // Whoever knew the secret could make a stored key fit; the flag still refuses.
    for hash in HASHES {
        let mut stand_in = Verifier::clone(&verifier(hash));
        stand_in.is_genuine = false;
        let refused = log_in(hash, Arc::new(stand_in), &password("pencil"));
        assert_eq!(refused.unwrap_err(), ScramError::Proof);
    }
}

#[test]
fn a_verifier_of_another_mechanism_accepts_nobody() {
    let (keys, _) = log_in(Hash::Sha1, verifier(Hash::Sha1), &password("pencil")).unwrap();
    let refused = log_in(Hash::Sha1, verifier(Hash::Sha256), &Secret::Keys(Arc::new(keys)));
    assert_eq!(refused.unwrap_err(), ScramError::Proof);
}

#[test]
fn a_challenge_that_was_changed_is_refused_by_the_client_or_makes_a_proof_that_does_not_fit() {
    let iterations = |count: &'static str| move |text: String| text.replace("i=4096", count);
    type Change = Box<dyn Fn(String) -> String>;
    let cases: Vec<(&str, Change, ScramError)> = vec![
        (
            "few iterations",
            Box::new(iterations("i=4095")),
            ScramError::Iterations(4095),
        ),
        (
            "many iterations",
            Box::new(iterations("i=1000001")),
            ScramError::Iterations(1_000_001),
        ),
        (
            "more iterations",
            Box::new(iterations("i=4097")),
            ScramError::Proof,
        ),
        (
            "another salt",
            Box::new(|text| text.replace("s=", "s=AAAA")),
            ScramError::Proof,
        ),
        (
            "another client nonce",
            Box::new(|text| text.replace(CLIENT_NONCE, "client-nonsense")),
            ScramError::Nonce,
        ),
        (
            "no server nonce",
            Box::new(|text| text.replace(SERVER_NONCE, "")),
            ScramError::Nonce,
        ),
        (
            "another server nonce",
            Box::new(|text| text.replace(SERVER_NONCE, "attacker")),
            ScramError::Nonce,
        ),
        (
            "an extension",
            Box::new(|text| format!("m=x,{text}")),
            ScramError::Extension,
        ),
    ];
    for hash in HASHES {
        for (name, change, expected) in &cases {
            let outcome = converse(hash, verifier(hash), &password("pencil"), [&|text| text, change]);
            let refused = outcome.and_then(|(challenged, _, proof)| {
                // The nonces are compared before the proof.
                challenged.finish(proof.as_bytes()).map(|_| ())
            });
            assert_eq!(refused.unwrap_err(), *expected, "{name}");
        }
    }
}

#[test]
fn a_proof_that_was_changed_is_refused() {
    for hash in HASHES {
        let finish = |change: &dyn Fn(String) -> String| {
            let same = |text| text;
            let begun = converse(hash, verifier(hash), &password("pencil"), [&same, &same]);
            let (challenged, _, proof) = begun.unwrap();
            challenged.finish(change(proof).as_bytes()).map(|_| ())
        };
        assert_eq!(finish(&|text| text), Ok(()));
        let swapped = finish(&|text| {
            let (head, proof) = text.rsplit_once("p=").unwrap();
            let other = if proof.starts_with('A') { "B" } else { "A" };
            format!("{head}p={other}{}", &proof[1..])
        });
        assert_eq!(swapped, Err(ScramError::Proof));
        assert_eq!(
            finish(&|text| format!("{}p=AAAA", text.rsplit_once("p=").unwrap().0)),
            Err(ScramError::Proof)
        );
        assert_eq!(
            finish(&|text| text.replace("c=biws", "c=eSws")),
            Err(ScramError::ChannelBindingChanged)
        );
        assert_eq!(
            finish(&|text| text.replace(SERVER_NONCE, "replayed")),
            Err(ScramError::Nonce)
        );
        // An attribute that was put in changes what is signed.
        assert_eq!(
            finish(&|text| text.replace(",p=", ",x=y,p=")),
            Err(ScramError::Proof)
        );
        assert!(
            finish(&|text| text.replace(",p=", ",q="))
                .unwrap_err()
                .is_malformed()
        );
    }
}

#[test]
fn a_server_that_does_not_know_the_verifier_is_found_out() {
    for hash in HASHES {
        let same = |text| text;
        let awaiting = || {
            converse(hash, verifier(hash), &password("pencil"), [&same, &same])
                .unwrap()
                .1
        };
        let forged = [b"v=".to_vec(), super::message::encode(&[0; 32]).into_bytes()].concat();
        assert_eq!(awaiting().verify(&forged), Err(ScramError::ServerSignature));
        assert!(matches!(
            awaiting().verify(b"e=other-error"),
            Err(ScramError::Refused(why)) if why == "other-error"
        ));
        assert!(awaiting().verify(b"").is_err());
    }
}

#[test]
fn a_first_message_is_read_as_a_server_reads_it() {
    let read = |text: &str| ClientFirst::parse(Hash::Sha256, text.as_bytes()).map(|_| ());
    for accepted in [
        "n,,n=ann,r=abcd",
        "y,,n=ann,r=abcd",
        "n,a=ann,n=ann,r=abcd",
        "n,a=a=2Cb,n=a=2Cb,r=abcd",
        "n,,n=ann,r=abcd,x=later extension",
    ] {
        assert_eq!(read(accepted), Ok(()), "{accepted}");
    }
    assert_eq!(
        read("p=tls-server-end-point,,n=ann,r=abcd"),
        Err(ScramError::ChannelBinding)
    );
    assert_eq!(read("n,a=root,n=ann,r=abcd"), Err(ScramError::OtherIdentity));
    assert_eq!(read("n,,m=x,n=ann,r=abcd"), Err(ScramError::Extension));
    for malformed in [
        "",
        "n",
        "n,",
        "n,,",
        "x,,n=ann,r=abcd",
        "n,ann,n=ann,r=abcd",
        "n,,n=,r=abcd",
        "n,,n=ann",
        "n,,n=ann,r=abc",
        "n,,r=abcd,n=ann",
        "n,,n=a=b,r=abcd",
        "n=ann,r=abcd",
    ] {
        let refused = read(malformed).unwrap_err();
        assert!(refused.is_malformed(), "{malformed}: {refused:?}");
    }
    let long = format!("n,,n={},r=abcd", "a".repeat(super::MOST_BYTES));
    assert!(read(&long).unwrap_err().is_malformed());
}

#[test]
fn a_client_that_thinks_the_server_binds_no_channel_logs_in() {
    // `y` in the header: the second message repeats it.
    for hash in HASHES {
        let first = ClientFirst::parse(hash, b"y,,n=ann,r=abcd").unwrap();
        let (challenged, _) = first.challenge(verifier(hash), "efgh");
        let refused = challenged.finish(b"c=biws,r=abcdefgh,p=AAAA").unwrap_err();
        assert_eq!(refused, ScramError::ChannelBindingChanged);
        let first = ClientFirst::parse(hash, b"y,,n=ann,r=abcd").unwrap();
        let (challenged, _) = first.challenge(verifier(hash), "efgh");
        let refused = challenged.finish(b"c=eSws,r=abcdefgh,p=AAAA").unwrap_err();
        assert_eq!(refused, ScramError::Proof);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_in_place_of_a_message_panic_or_log_in(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[nyprsivcae=,+/0-9A-Z]{0,60}".prop_map(String::into_bytes),
            "(n|y),(a=[a-z=]{0,4})?,n=[a-z=2C]{0,6},r=[a-z]{0,8}".prop_map(String::into_bytes),
            "r=client-nonce[a-z]{0,3},s=[A-Z]{0,8}=?,i=[0-9]{0,3}".prop_map(String::into_bytes),
            "c=biws,r=client-nonceserver-nonce,p=[A-Z]{0,8}=?".prop_map(String::into_bytes),
        ],
        hash in proptest::sample::select(HASHES.to_vec()),
    ) {
        let _ = ClientFirst::parse(hash, &bytes);
        let (conversation, first) = Conversation::begin(hash, &ann(), CLIENT_NONCE);
        let first = ClientFirst::parse(hash, &first).unwrap();
        let (challenged, _) = first.challenge(Arc::new(Verifier::unknown(hash, &ann(), &[9; 32], Iterations::default())), SERVER_NONCE);
        prop_assert!(challenged.finish(&bytes).is_err());
        prop_assert!(conversation.respond(&bytes, &password("pencil")).is_err());
    }
}
