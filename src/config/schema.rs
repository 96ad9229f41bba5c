//! The names of all sections and keys: one table, from which unknown keys, environment variables and suggestions
//! are judged. What each value may be stands where it is read (`resolve`).

/// One section of the file.
pub(super) struct Section {
    /// Where it holds a dot the section stands within another one, and belongs to the last of these.
    pub(super) name: &'static str,
    /// Written `[[name]]`, as often as wanted; or within one that is.
    pub(super) repeated: bool,
    pub(super) keys: &'static [&'static str],
}

/// Every section, in the order of `proxy.toml`.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "upstream",
        repeated: false,
        keys: &["uri", "uri_file", "nameserver", "app_name", "comment"],
    },
    Section {
        name: "listener",
        repeated: true,
        keys: &[
            "address",
            "unix_mode",
            "presents_as",
            "advertise",
            "secondary_address",
            "advertise_secondary",
            "node",
            "read_preference",
            "fail_points",
            "compressors",
            "legacy",
            "max_wire_version",
            "allow_networks",
            "deny_commands",
            "read_only",
        ],
    },
    Section {
        name: "listener.tls",
        repeated: true,
        keys: &[
            "mode",
            "certificate",
            "key",
            "key_password_file",
            "client_ca",
            "client_certificates",
            "min_version",
        ],
    },
    Section {
        name: "auth",
        repeated: false,
        keys: &[
            "source",
            "users_file",
            "credential_ttl",
            "mechanisms",
            "serve_without_login",
        ],
    },
    Section {
        name: "pool",
        repeated: false,
        keys: &[
            "max_size",
            "max_awaiting",
            "max_per_user",
            "min_per_user",
            "min_size",
            "max_connecting",
            "wait_timeout",
            "idle_timeout",
            "max_lifetime",
        ],
    },
    Section {
        name: "failover",
        repeated: false,
        keys: &["hold", "hold_commands", "hold_bytes", "exactly_once"],
    },
    Section {
        name: "drain",
        repeated: false,
        keys: &["grace", "deadline"],
    },
    Section {
        name: "limits",
        repeated: false,
        keys: &[
            "max_clients",
            "max_clients_per_address",
            "max_unauthenticated",
            "login_timeout",
            "login_delay_max",
            "handshake_timeout",
            "idle_timeout",
            "buffer_bytes",
            "stream_above",
            "min_read_rate",
        ],
    },
    Section {
        name: "admin",
        repeated: false,
        keys: &["address", "token", "token_file", "read_token", "read_token_file"],
    },
    Section {
        name: "admin.tls",
        repeated: false,
        keys: &["certificate", "key", "client_ca"],
    },
    Section {
        name: "audit",
        repeated: false,
        keys: &["file"],
    },
    Section {
        name: "reload",
        repeated: false,
        keys: &["watch"],
    },
    Section {
        name: "upgrade",
        repeated: false,
        keys: &["socket"],
    },
    Section {
        name: "log",
        repeated: false,
        keys: &["level", "format", "slow"],
    },
];

/// The keys of a `read_preference` that is written as a table.
pub(super) const READ_PREFERENCE_KEYS: &[&str] = &["mode", "tags", "max_staleness"];

/// The keys whose values are lists.
pub(super) const LISTS: &[&str] = &["compressors", "mechanisms", "allow_networks", "deny_commands"];

/// A secret setting may be given in a file of its own instead, named by a second setting; each pair is
/// (section, setting, the setting that names its file). The one given last replaces the other.
pub(super) const SECRETS: &[(&str, &str, &str)] = &[
    ("upstream", "uri", "uri_file"),
    ("admin", "token", "token_file"),
    ("admin", "read_token", "read_token_file"),
];

/// The section of this name.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// What is wrong with a name that no section or key has, and which one may have been meant. `section` is `None`
/// where the name is that of a section.
pub(super) fn unknown(within: Option<&Section>, name: &str) -> String {
    let Some(within) = within else {
        let names: Vec<_> = SECTIONS.iter().map(|section| section.name).collect();
        let meant = match suggest(name, &names) {
            Some(near) => format!("did you mean [{near}]?"),
            None => match home_of(name) {
                Some(home) => format!("did you mean {name} in [{}]?", home.name),
                None => format!("the sections are {}", names.join(", ")),
            },
        };
        return format!("there is no such section; {meant}");
    };
    format!(
        "there is no such key; {}",
        meant_key(name, within.keys, || home_of(name))
    )
}

/// Which of `keys` may have been meant.
pub(super) fn unknown_key(name: &str, keys: &[&str]) -> String {
    format!("there is no such key; {}", meant_key(name, keys, || None))
}

fn meant_key(name: &str, keys: &[&str], home: impl FnOnce() -> Option<&'static Section>) -> String {
    if let Some(near) = suggest(name, keys) {
        return format!("did you mean {near}?");
    }
    match home() {
        Some(home) => format!("did you mean {name} in [{}]?", home.name),
        None => format!("the keys here are {}", keys.join(", ")),
    }
}

/// The only section that has a key of this name.
fn home_of(key: &str) -> Option<&'static Section> {
    let mut homes = SECTIONS.iter().filter(|section| section.keys.contains(&key));
    homes.next().filter(|_| homes.next().is_none())
}

/// The candidate nearest to `name`, where one is near enough to have been meant.
pub(super) fn suggest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // Names longer than any of ours by far are not typing errors, and comparing them would cost their length.
    if name.len() > 64 {
        return None;
    }
    let name = name.to_lowercase().replace('-', "_");
    candidates
        .iter()
        .map(|candidate| (distance(&name, &candidate.to_lowercase()), *candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 3))
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, taken out or changed to make one word the other (Levenshtein).
pub(super) fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_letter_changes() {
        for (from, to, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "", 3),
            ("adress", "address", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), expected, "{from} -> {to}");
            assert_eq!(distance(to, from), expected, "{to} -> {from}");
        }
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let keys = section("pool").unwrap().keys;
        assert_eq!(suggest("maxsize", keys), Some("max_size"));
        assert_eq!(suggest("max-size", keys), Some("max_size"));
        assert_eq!(suggest("wait_timout", keys), Some("wait_timeout"));
        assert_eq!(suggest("colour", keys), None);
        assert_eq!(suggest(&"max_size".repeat(1000), keys), None);
    }

    #[test]
    fn a_key_of_another_section_is_pointed_to() {
        assert!(unknown(section("pool"), "max_clients").contains("max_clients in [limits]"));
        assert!(unknown(None, "max_clients").contains("max_clients in [limits]"));
        assert!(unknown(None, "pol").contains("[pool]"));
    }
}
