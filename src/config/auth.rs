//! `[auth]`: how clients log in, and what listeners without logins are warned of.

use std::path::{Path, PathBuf};

use super::{
    mistake::{Place, Report},
    reader::Section,
    resolve::section,
    schema,
    tree::{Node, Table, Value},
};
use crate::{
    auth::{Mechanism, Options, Source},
    client::{ListenAddress, ListenerOptions},
};

const SOURCES: &[(&str, Source)] = &[
    ("backend", Source::Backend),
    ("file", Source::File),
    ("none", Source::None),
];
const FORM: &str = "must be a list such as [\"SCRAM-SHA-256\", \"MONGODB-X509\"]";

/// Reads the section. `has_credential`: whether the connection string names a user. `takes_certificates`: whether a listener asks
/// clients for certificates, so that they can log in by them.
pub(super) fn auth_section(
    root: &mut Table,
    folder: &Path,
    has_credential: bool,
    takes_certificates: bool,
    report: &mut Report,
) -> Options {
    let mut section = section(root, "auth", report);
    let mut default = Options::default();
    if takes_certificates {
        default.mechanisms.push(Mechanism::X509);
    }
    let fallback = if has_credential {
        Source::Backend
    } else {
        Source::None
    };
    let source = section.choice("source", SOURCES, fallback);
    let users_file = users_file(&mut section, folder);
    let credential_ttl = section.duration("credential_ttl", default.credential_ttl);
    let serves_without_login = section.boolean("serve_without_login", false);
    let mechanisms = mechanisms(&mut section).unwrap_or(default.mechanisms);
    let options = Options {
        source,
        users_file: users_file.filter(|_| source.demands_login()),
        credential_ttl,
        mechanisms,
    };
    if section.are_sound(&["source", "users_file", "serve_without_login", "mechanisms"]) {
        check(&mut section, &options, has_credential, serves_without_login);
    }
    section.finish(|name| schema::unknown(schema::section("auth"), name));
    options
}

fn users_file(section: &mut Section<'_>, folder: &Path) -> Option<PathBuf> {
    let wanted = "a path such as \"/etc/tidegate/users.toml\"";
    section.read("users_file", wanted, |node| match &node.value {
        Value::Text(text) if text.is_empty() => Some(Err(format!("is empty; write {wanted}"))),
        // In the file a relative path counts from that file, in a variable from the working directory.
        Value::Text(text) if node.place.is_untyped() => Some(Ok(text.into())),
        Value::Text(text) => Some(Ok(folder.join(text))),
        _ => None,
    })
}

fn mechanisms(section: &mut Section<'_>) -> Option<Vec<Mechanism>> {
    let Value::List(nodes) = section.take("mechanisms")?.value else {
        section.mistake("mechanisms", FORM);
        return None;
    };
    let mut list = Vec::new();
    for node in nodes {
        match named(&node) {
            Ok(mechanism) if list.contains(&mechanism) => {
                section.mistake("mechanisms", format!("{mechanism} is listed twice"));
            }
            Ok(mechanism) => list.push(mechanism),
            Err(problem) => section.mistake("mechanisms", problem),
        }
    }
    Some(list)
}

fn named(node: &Node) -> Result<Mechanism, String> {
    let Value::Text(name) = &node.value else {
        return Err(FORM.to_owned());
    };
    Mechanism::from_name(name).ok_or_else(|| {
        let names = Mechanism::ALL.map(Mechanism::name);
        format!("{name:?} is no mechanism; there are {}", names.join(", "))
    })
}

fn check(section: &mut Section<'_>, options: &Options, has_credential: bool, serves_without_login: bool) {
    let demands_login = options.source.demands_login();
    if options.source == Source::Backend && !has_credential {
        section.mistake(
            "source",
            "\"backend\" reads users from the nodes, and [upstream] uri names no user to read them as; see \
             docs/authentication.md for the command that makes one",
        );
    }
    if options.source == Source::None && has_credential && !serves_without_login {
        section.mistake(
            "source",
            "with \"none\" everybody who reaches this proxy acts as the user of [upstream] uri; write \
             serve_without_login = true if that is meant, or source = \"backend\"",
        );
    }
    if demands_login && serves_without_login {
        section.mistake(
            "serve_without_login",
            "contradicts source, by which clients must log in; write source = \"none\" too, or take it out",
        );
    }
    if options.source == Source::File && options.users_file.is_none() {
        section.mistake(
            "users_file",
            "is missing: source = \"file\" needs the file that has the users",
        );
    }
    if !demands_login && section.is_given("users_file") {
        section.mistake(
            "users_file",
            "has no meaning with source = \"none\": nobody logs in",
        );
    }
    if demands_login && options.mechanisms.is_empty() {
        section.mistake("mechanisms", "is empty: nobody could log in");
    }
    if options.source == Source::Backend
        && options.users_file.is_none()
        && options.offers(Mechanism::MongodbCr)
    {
        section.mistake(
            "mechanisms",
            "MONGODB-CR needs a users_file: the nodes keep no credentials for it",
        );
    }
}

/// Warns of listeners that others than this host's own users can reach, where nobody has to log in.
pub(super) fn warn_of_open(options: &Options, listeners: &[(ListenerOptions, Place)], report: &mut Report) {
    if options.source.demands_login() {
        return;
    }
    for (index, (listener, place)) in listeners.iter().enumerate() {
        let second = listener
            .twin
            .as_ref()
            .map(|twin| ListenAddress::Tcp(twin.address));
        for (key, address) in [
            ("address", Some(&listener.address)),
            ("secondary_address", second.as_ref()),
        ] {
            if matches!(address, Some(ListenAddress::Tcp(address)) if !address.ip().is_loopback()) {
                report.warning(
                    place,
                    &format!("listener[{index}].{key}"),
                    "clients need not log in: whoever can reach this address can use the replica set ([auth] source)",
                );
            }
        }
    }
}
