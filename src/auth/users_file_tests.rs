//! Users files, good and bad.

use proptest::prelude::*;

use super::*;

const KEYS_1: &str = "iterations = 10000\nsalt = \"c2FsdA==\"\nstored_key = \"AAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n\
                      server_key = \"AAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n";

fn errors(text: &str) -> String {
    let errors = text.parse::<UsersFile>().unwrap_err();
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn ann(rest: &str) -> String {
    format!("[[user]]\nname = \"ann\"\ndb = \"shop\"\n{rest}\n")
}

#[test]
fn users_identities_and_subjects_are_read() {
    let text = format!(
        "{}\n[[user]]\nname = 'old'\ndb = 'admin'\nact_as = 'service'\nmongodb_cr = '{}'\n\
         [[identity]]\nname = 'reports'\nuser = 'reporter'\nmechanism = 'SCRAM-SHA-256'\npassword_file = '/run/x'\n\
         [[subject]]\nname = 'CN=ann,O=shop'\nact_as = 'reports'\n",
        ann(&format!("act_as = 'reports'\n[user.scram-sha-1]\n{KEYS_1}")),
        "0a".repeat(16)
    );
    let read: UsersFile = text.parse().unwrap();
    let entry = read.user(&UserName::new("shop", "ann")).unwrap();
    assert_eq!(entry.act_as.as_deref(), Some("reports"));
    let verifier = entry.verifier(Hash::Sha1).unwrap();
    assert_eq!((verifier.salt(), verifier.iterations()), (&b"salt"[..], 10_000));
    assert!(entry.verifier(Hash::Sha256).is_none());
    assert!(read.user(&UserName::new("admin", "ann")).is_none());
    let old = read.user(&UserName::new("admin", "old")).unwrap();
    assert_eq!(old.mongodb_cr.as_ref().unwrap().len(), 32);
    let identity = &read.identities["reports"];
    assert_eq!(identity.user, UserName::new("admin", "reporter"));
    assert_eq!(identity.mechanism, Some(Mechanism::ScramSha256));
    assert_eq!(&*read.subjects["CN=ann,O=shop"], "reports");
    assert_eq!(read.to_toml().parse::<UsersFile>().unwrap(), read);
    assert!(!format!("{read:?}").contains("0a0a"));
}

#[test]
fn what_is_wrong_is_told_with_its_entry() {
    let keys = |change: (&str, &str)| {
        ann(&format!(
            "[user.scram-sha-1]\n{}",
            KEYS_1.replace(change.0, change.1)
        ))
    };
    let identity = |rest: &str| format!("[[identity]]\nname = 'x'\nuser = 'y'\n{rest}\n");
    for (text, says) in [
        (ann("password = 'hunter2'"), "user ann@shop: holds a password"),
        (ann("pwd = 'hunter2'"), "user ann@shop: holds a password"),
        (identity("password = 'hunter2'"), "identity x: holds a password"),
        (ann(""), "user ann@shop: has nothing to log in with"),
        (ann("mongodb_cr = 'hunter2'"), "32 hexadecimal digits"),
        (keys(("c2FsdA==", "hunter2!")), "is not base64"),
        (
            keys(("c2FsdA==", "")),
            "SCRAM-SHA-1: the salt has not the right length",
        ),
        (keys(("AAAAAAA=", "AAA=")), "key has not the right length"),
        (keys(("10000", "0")), "0 iterations"),
        (
            keys(("10000", "'hunter2'")),
            "line 5: a value is of the wrong type",
        ),
        (keys(("iterations", "iteration")), "unknown field `iteration`"),
        (ann("colour = 'hunter2'"), "unknown field `colour`"),
        ("[[user]]\nname = 'ann'".to_owned(), "line 1: missing field `db`"),
        (ann("act_as = hunter2"), "line 4: it is not valid TOML"),
        (identity(""), "identity x: password_file is missing"),
        (
            identity("mechanism = 'GSSAPI'\npassword_file = 'x'"),
            "mechanism must be",
        ),
        (
            "[[identity]]\nname = 'service'\nuser = 'y'\npassword_file = 'x'".to_owned(),
            "identity service: this name is taken",
        ),
        (
            "[[subject]]\nname = 'CN=a'\nact_as = 'reports'".to_owned(),
            "identity reports: is acted as",
        ),
        (
            format!("{0}{0}", ann(&format!("[user.scram-sha-1]\n{KEYS_1}"))),
            "user ann@shop: stands here twice",
        ),
    ] {
        let told = errors(&text);
        assert!(told.contains(says), "{text}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    assert_eq!(errors(&format!("{}{}", ann(""), identity(""))).lines().count(), 2);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,100}") {
        let _ = text.parse::<UsersFile>();
    }

    #[test]
    fn whatever_users_are_called_they_are_written_and_read(name in "(?s).{1,20}", db in "(?s).{1,20}", salt in prop::collection::vec(any::<u8>(), 1..40)) {
        let verifier = Verifier::new(Hash::Sha256, &salt, 15_000, &[1; 32], &[2; 32]).unwrap();
        let entry = Entry { scram_sha_256: Some(Arc::new(verifier)), ..Entry::default() };
        let file = UsersFile { users: [(UserName::new(&db, &name), entry)].into(), ..UsersFile::default() };
        prop_assert_eq!(file.to_toml().parse::<UsersFile>().unwrap(), file);
    }
}
