//! Who may do what, and where that is written down.

use std::path::Path;

use super::{
    mistake::Report,
    reader::Section,
    resolve::section,
    schema,
    tree::{Table, Value},
};
use crate::{
    audit,
    auth::Network,
    client::ListenerOptions,
    command::{Policy, policy},
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
