//! The connection string's part in the whole.

use super::*;

#[test]
fn the_uri_can_stand_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("uri"), "mongodb://from-file\n").unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let file = folder.path().join("proxy.toml");
    let load = |text: &str, variables: &[(&str, &str)]| {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        Loader::new().text(&file, text).variables(variables).load()
    };
    let absolute = folder.path().join("uri");
    let variable = ("TIDEGATE_UPSTREAM__URI_FILE", absolute.to_str().unwrap());
    for (text, variables) in [
        ("[upstream]\nuri_file = 'uri'", &[][..]),
        (URI, &[variable]),
        ("[upstream]\nuri_file = 'missing'", &[variable]),
    ] {
        assert_eq!(
            load(text, variables).unwrap().upstream.seeds[0].host(),
            "from-file",
            "{text}"
        );
    }
    let config = load(
        "[upstream]\nuri_file = 'missing'",
        &[("TIDEGATE_UPSTREAM__URI", "mongodb://env")],
    )
    .unwrap();
    assert_eq!(config.upstream.seeds[0].host(), "env");
    for (text, says) in [
        (
            "[upstream]\nuri_file = 'missing'",
            ":2: upstream.uri_file: cannot read",
        ),
        ("[upstream]\nuri_file = 'empty'", "is empty"),
        (
            "[upstream]\nuri = 'mongodb://a'\nuri_file = 'uri'",
            ":3: upstream.uri_file: uri is given too",
        ),
    ] {
        let mistakes = load(text, &[]).unwrap_err();
        assert!(
            mistakes.count() == 1 && mistakes.to_string().contains(says),
            "{mistakes}"
        );
    }
}

#[test]
fn credentials_are_in_no_message() {
    const SECRET: &str = "hunter2";
    for uri in [
        "mongodb://user:hunter2@a",
        "mongodb://user:hunter2@a:0/?tls=true",
        "mongodb://user:hunter2/x@a",
        "mongodb://user:1?hunter2=x@a",
        "mongodb://us%er:hunter2@a",
        "mongodb+srv://user:hunter2@a",
        "mongo://user:hunter2@a",
        "user:hunter2@a",
        "mongodb://a/?tlsCertificateKeyFilePassword=hunter2",
        "mongodb://a/?proxyPassword=hunter2",
        "mongodb://a/?authMechanismProperties=AWS_SESSION_TOKEN:hunter2",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("uri");
        std::fs::write(&file, uri).unwrap();
        for (text, variables) in [
            (format!("[upstream]\nuri = '{uri}'"), &[][..]),
            // Without quotes, with one, and in the wrong place: faults of syntax and of type.
            (format!("[upstream]\nuri = {uri}"), &[]),
            (format!("[upstream]\nuri = '{uri}"), &[]),
            (format!("[upstream]\nuri = ['{uri}']"), &[]),
            (String::new(), &[("TIDEGATE_UPSTREAM__URI", uri)]),
            (format!("[upstream]\nuri_file = '{}'", file.display()), &[]),
        ] {
            let shown = match load(&text, variables) {
                Ok(config) => format!("{config:?}"),
                Err(mistakes) => format!("{mistakes} {mistakes:?}"),
            };
            assert!(!shown.contains(SECRET), "{shown}");
        }
        let variable = ("TIDEGATE_UPSTREAM__URI".into(), uri.into());
        let loader = Loader::new()
            .text(&file, uri)
            .variables([variable])
            .set("upstream.uri", uri, "--uri");
        assert!(!format!("{loader:?}").contains(SECRET), "{loader:?}");
    }
}

#[test]
fn the_uris_options_are_defaults_of_pool_and_listeners() {
    let uri = "[upstream]\nuri = 'mongodb://a/?maxPoolSize=7&minPoolSize=2&maxConnecting=3&waitQueueTimeoutMS=4000&maxIdleTimeMS=0\
               &readPreference=nearest&readPreferenceTags=dc:ams&maxStalenessSeconds=90&heartbeatFrequencyMS=1000'\n";
    let config = load(
        &format!("{uri}[[listener]]\n[[listener]]\naddress = '127.0.0.1:1'\nread_preference = 'primary'"),
        &[],
    )
    .unwrap();
    let defaults = pool::Options::default();
    let expected = pool::Options {
        max_size: 7,
        max_awaiting: defaults.max_awaiting,
        max_per_user: defaults.max_per_user,
        min_per_user: defaults.min_per_user,
        min_size: 2,
        max_connecting: 3,
        wait_timeout: Duration::from_secs(4),
        idle_timeout: None,
        max_lifetime: defaults.max_lifetime,
    };
    assert_eq!(config.pool, expected);
    let preferences: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| listener.read_preference.to_string())
        .collect();
    assert_eq!(
        preferences,
        [
            "readPreference=nearest&readPreferenceTags=dc:ams&maxStalenessSeconds=90",
            "readPreference=primary"
        ]
    );
    let config = load(&format!("{uri}[pool]\nmax_size = 50\nidle_timeout = '1s'"), &[]).unwrap();
    assert_eq!(
        (config.pool.max_size, config.pool.idle_timeout),
        (50, Some(Duration::from_secs(1)))
    );
}

#[test]
fn contradictions_with_the_uris_options_are_reported_where_they_stand() {
    for (text, place, says) in [
        (
            "[upstream]\nuri = 'mongodb://a/?maxPoolSize=5&minPoolSize=6'",
            "proxy.toml:2: upstream.uri: ",
            "more than maxPoolSize",
        ),
        (
            "[upstream]\nuri = 'mongodb://a/?minPoolSize=6'\n[pool]\nmax_size = 5",
            "proxy.toml:4: pool.max_size: ",
            "minPoolSize of the uri (6)",
        ),
        (
            "[upstream]\nuri = 'mongodb://a/?maxPoolSize=5'\n[pool]\nmin_size = 6",
            "proxy.toml:4: pool.min_size: ",
            "max_size (5)",
        ),
        (
            "[upstream]\nuri = 'mongodb://a/?readPreferenceTags=a:b'",
            "proxy.toml:2: upstream.uri: ",
            "other than primary",
        ),
        (
            "[upstream]\nuri = 'mongodb://a/?readPreference=nearest&maxStalenessSeconds=100&heartbeatFrequencyMS=100000'",
            "proxy.toml:2: upstream.uri: ",
            "at least 1m 50s",
        ),
    ] {
        let found = mistakes(text, &[]);
        assert!(
            found.len() == 1 && found[0].starts_with(place) && found[0].contains(says),
            "{found:?}"
        );
    }
}
