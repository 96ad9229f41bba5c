//! Who may do what, and where that is written down.

use std::{net::SocketAddr, path::Path};

use super::{
    mistake::Report,
    reader::Section,
    resolve::section,
    schema, secret,
    tls::admin_tls,
    tree::{Table, Value},
};
use crate::{
    admin::{Access, Token},
    audit,
    auth::Network,
    client::ListenerOptions,
    command::{Policy, policy},
    tls::Acceptor,
};

/// `[audit]`: where the audit log goes, if there is one.
pub(super) fn audit_section(root: &mut Table, folder: &Path, report: &mut Report) -> Option<audit::Target> {
    let mut section = section(root, "audit", report);
    let target = section.read(
        "file",
        "a path such as \"/var/log/tidegate/audit.json\", \"stdout\", \"stderr\" or \"off\"",
        |node| {
            let Value::Text(text) = &node.value else {
                return None;
            };
            Some(Ok(match text.as_str() {
                "off" => None,
                "stdout" => Some(audit::Target::Stdout),
                "stderr" => Some(audit::Target::Stderr),
                "" => return Some(Err("is empty; write \"off\" for no audit log".to_owned())),
                // In the file a relative path counts from that file, in a variable from the working directory.
                path if node.place.is_untyped() => Some(audit::Target::File(path.into())),
                path => Some(audit::Target::File(folder.join(path))),
            }))
        },
    );
    section.finish(|name| schema::unknown(schema::section("audit"), name));
    target.flatten()
}

/// What a listener permits.
pub(super) struct Rules {
    pub(super) allow_networks: Vec<Network>,
    pub(super) policy: Option<Policy>,
}

/// `allow_networks`, `deny_commands` and `read_only`.
pub(super) fn rules(section: &mut Section<'_>) -> Rules {
    let allow_networks = section.list("allow_networks", "[\"10.0.0.0/8\", \"fd00::/8\"]", |text| {
        text.parse::<Network>().map_err(|error| error.to_string())
    });
    let denied = section.list("deny_commands", "[\"dropDatabase\", \"shutdown\"]", |name| {
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        let problem = || format!("{name:?} is no name of a command");
        is_name.then(|| name.to_owned()).ok_or_else(problem)
    });
    for name in &denied {
        if !policy::is_known(name) {
            let names: Vec<_> = policy::names().collect();
            let meant = schema::suggest(name, &names);
            let meant = meant.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            let problem = format!("no command is known as {name:?}; it is denied all the same{meant}");
            section.warning("deny_commands", problem);
        } else if policy::is(name.as_bytes(), "hello") {
            let problem = format!("without {name} no driver can connect");
            section.mistake("deny_commands", problem);
        }
    }
    let read_only = section.boolean("read_only", false);
    Rules {
        allow_networks,
        policy: Policy::new(&denied, read_only),
    }
}

/// Checks that a rule does what somebody may expect of it.
pub(super) fn check_rules(section: &mut Section<'_>, options: &ListenerOptions) {
    let is_path = options.address.tcp().is_none();
    if is_path && !options.allow_networks.is_empty() {
        section.warning(
            "allow_networks",
            "has no effect: a Unix domain socket has no addresses, and unix_mode says who may connect",
        );
    }
}

/// `token`, `read_token`, their files and `[admin.tls]`: who may ask and act at the admin endpoint.
pub(super) fn admin(
    section: &mut Section<'_>,
    folder: &Path,
    address: Option<SocketAddr>,
) -> (Access, Option<Acceptor>) {
    let tls = admin_tls(section, folder);
    let access = Access {
        token: token(section, ["token", "token_file"], folder),
        read_token: token(section, ["read_token", "read_token_file"], folder),
        by_certificate: tls.as_ref().is_some_and(|tls| tls.options().client_ca.is_some()),
    };
    let keys = ["address", "token", "token_file", "read_token", "read_token_file"];
    let Some(address) = address.filter(|_| section.are_sound(&keys)) else {
        return (access, tls);
    };
    if access.token.is_some() && access.token == access.read_token {
        let key = given(section, ["read_token", "read_token_file"]);
        section.mistake(
            key,
            "is the same as the token that gives all rights; make another one, or leave it out",
        );
    }
    let is_local = address.ip().is_loopback();
    if !is_local && access.is_open() {
        section.mistake(
            "address",
            format!(
                "{address} can be reached from other hosts, and nothing says who may ask and act there: name a file with a bearer \
                 token as token_file, or the authority of clients' certificates as client_ca in [admin.tls], or use an address of this host alone, such as 127.0.0.1:{}",
                address.port()
            ),
        );
    } else if !is_local && tls.is_none() {
        section.warning(
            "address",
            "tokens go over the network as clear text: name a certificate in [admin.tls]",
        );
    }
    (access, tls)
}

fn given(section: &Section<'_>, [inline, file]: [&'static str; 2]) -> &'static str {
    if section.is_given(file) { file } else { inline }
}

/// A token that stands here or in a file of its own. What is wrong with it is told without it.
fn token(section: &mut Section<'_>, [inline, file]: [&'static str; 2], folder: &Path) -> Option<Token> {
    let text = section.text(inline);
    let path = section.text(file);
    if section.is_given(inline) && section.is_given(file) {
        section.mistake(file, format!("{inline} is given too; keep one of the two"));
        return None;
    }
    let base = match section.place_of(file).is_untyped() {
        // In the file a relative path counts from that file, in a variable from the working directory.
        true => Path::new(""),
        false => folder,
    };
    let read = path.and_then(|path| {
        let path = base.join(path);
        section.note_file(&path);
        secret::read(&path)
            .map_err(|problem| section.mistake(file, problem))
            .ok()
    });
    let key = given(section, [inline, file]);
    Token::new(text.or(read)?)
        .map_err(|problem| section.mistake(key, problem.to_string()))
        .ok()
}
