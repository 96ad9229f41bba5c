//! What is shown of a configuration: every setting with its place, and no secret.

use super::*;

const FULL: &str = r#"
[upstream]
uri = "mongodb://hidden-user:hidden-password@a,b:1/shop?replicaSet=rs&maxPoolSize=70"
[[listener]]
address = "127.0.0.1:1"
read_preference = { mode = "secondary", max_staleness = "2m" }
deny_commands = ["shutdown"]
[pool]
min_size = 3
[admin]
token = "hidden-token-for-everything"
read_token = "hidden-token-for-reading"
"#;

fn find<'a>(config: &'a Config, key: &str) -> (Option<&'a str>, &'a str) {
    let mut found = config.settings.iter().filter(|setting| setting.key == key);
    let setting = found.next().unwrap_or_else(|| panic!("{key} is not shown"));
    assert!(found.next().is_none(), "{key} is shown twice");
    (setting.value.as_deref(), &setting.source)
}

#[test]
fn every_setting_is_shown_with_where_it_comes_from() {
    let variables = [
        ("TIDEGATE_LIMITS__MAX_CLIENTS", "77"),
        ("TIDEGATE_LISTENER__0__READ_ONLY", "true"),
    ];
    let config = load(FULL, &variables).unwrap();
    for (key, value, source) in [
        ("upstream.app_name", Some("tidegate"), "default"),
        ("upstream.comment", Some("off"), "default"),
        ("listener[0].address", Some("127.0.0.1:1"), "proxy.toml:5"),
        (
            "listener[0].read_preference",
            Some("{ max_staleness = \"2m\", mode = \"secondary\" }"),
            "proxy.toml:6",
        ),
        (
            "listener[0].deny_commands",
            Some("[\"shutdown\"]"),
            "proxy.toml:7",
        ),
        (
            "listener[0].read_only",
            Some("true"),
            "TIDEGATE_LISTENER__0__READ_ONLY",
        ),
        ("pool.max_size", Some("70"), "upstream.uri"),
        ("pool.min_size", Some("3"), "proxy.toml:9"),
        ("pool.idle_timeout", Some("10m"), "default"),
        ("limits.max_clients", Some("77"), "TIDEGATE_LIMITS__MAX_CLIENTS"),
        ("limits.idle_timeout", Some("off"), "default"),
        ("admin.token", Some("(set)"), "proxy.toml:11"),
        ("admin.read_token_file", None, "default"),
        ("log.format", Some("auto"), "default"),
    ] {
        assert_eq!(find(&config, key), (value, source), "{key}");
    }
    for section in schema::SECTIONS
        .iter()
        .filter(|section| !section.name.contains('.'))
    {
        let path = if section.repeated {
            format!("{}[0]", section.name)
        } else {
            section.name.to_owned()
        };
        for key in section.keys {
            find(&config, &format!("{path}.{key}"));
        }
    }
}

#[test]
fn no_secret_is_shown_wherever_it_stands() {
    let config = load(FULL, &[]).unwrap();
    let uri = "mongodb://***@a:27017,b:1/shop?maxPoolSize=70&replicaSet=rs";
    assert_eq!(find(&config, "upstream.uri"), (Some(uri), "proxy.toml:3"));
    let shown = format!("{:?}", config.settings);
    assert!(!shown.contains("hidden"), "{shown}");

    let folder = tempfile::tempdir().unwrap();
    let files = ["uri", "token", "read"].map(|name| folder.path().join(name));
    let texts = [
        "mongodb://hidden-user:hidden%40password@a/",
        "hidden-token-for-everything",
        "hidden-token-for-reading",
    ];
    for (file, text) in files.iter().zip(texts) {
        std::fs::write(file, text).unwrap();
    }
    let names = [
        "UPSTREAM__URI_FILE",
        "ADMIN__TOKEN_FILE",
        "ADMIN__READ_TOKEN_FILE",
    ];
    let variables: Vec<_> = names
        .iter()
        .zip(&files)
        .map(|(name, file)| (format!("TIDEGATE_{name}"), file.to_str().unwrap()))
        .collect();
    let variables: Vec<_> = variables.iter().map(|(name, file)| (&**name, *file)).collect();
    let config = load("", &variables).unwrap();
    let source = "TIDEGATE_UPSTREAM__URI_FILE";
    assert_eq!(
        find(&config, "upstream.uri"),
        (Some("mongodb://***@a:27017/"), source)
    );
    let shown = format!("{:?}", config.settings);
    assert!(!shown.contains("hidden"), "{shown}");
}
