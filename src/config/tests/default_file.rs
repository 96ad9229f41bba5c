//! `proxy.toml`, the commented default.

use super::{super::schema::SECTIONS, *};

/// Keys that mean something only when they are given.
pub(super) const WITHOUT_DEFAULT: &[&str] = &[
    "uri_file",
    "advertise",
    "secondary_address",
    "node",
    "certificate",
    "key",
    "client_ca",
    "users_file",
    "token",
    "read_token",
];

pub(super) const TEXT: &str = include_str!("../../../proxy.toml");

fn expected() -> Config {
    let config = load("[upstream]\nuri = 'mongodb://127.0.0.1:27017'\n[[listener]]", &[]).unwrap();
    assert!(config.warnings.is_empty());
    config
}

/// A commented line that gives a key: `# max_size = 100`.
pub(super) fn commented(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# ")?;
    let (key, _) = line.split_once(" = ")?;
    key.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        .then_some(line)
}

#[test]
fn it_means_the_defaults_as_it_stands() {
    assert_is_default(load(TEXT, &[]).unwrap());
}

/// What the configuration means, and what is shown of it; but not where its values come from.
fn assert_is_default(config: Config) {
    let expected = expected();
    let shown = |config: &Config| -> Vec<_> {
        let settings = config.settings.iter();
        settings
            .map(|setting| (setting.key.clone(), setting.value.clone()))
            .collect()
    };
    let found = shown(&config);
    for row in shown(&expected).into_iter().filter(|(_, value)| value.is_some()) {
        assert!(found.contains(&row), "{row:?} is not in {found:?}");
    }
    let meaning = |config| Config {
        settings: Vec::new(),
        ..config
    };
    assert_eq!(meaning(config), meaning(expected));
}

#[test]
fn what_it_comments_out_are_the_defaults() {
    let uncomment = |line| {
        commented(line)
            .filter(|line| !WITHOUT_DEFAULT.iter().any(|key| line.starts_with(key)))
            .unwrap_or(line)
    };
    let text: Vec<_> = TEXT.lines().map(uncomment).collect();
    assert_is_default(load(&text.join("\n"), &[]).unwrap());
}

#[test]
fn it_has_every_key_in_its_section() {
    let mut found = Vec::new();
    let mut section = "";
    for line in TEXT.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        } else if let Some((key, _)) = commented(line)
            .or_else(|| Some(line).filter(|line| !line.starts_with('#')))
            .and_then(|line| line.split_once(" = "))
        {
            found.push((section, key));
        }
    }
    let known: Vec<_> = SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| (section.name, *key)))
        .collect();
    assert_eq!(found, known);
}
