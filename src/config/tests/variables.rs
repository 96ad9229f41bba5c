//! Environment variables over the file.

use super::*;

#[test]
fn variables_win_over_the_file() {
    let text = format!(
        "{URI}[pool]\nmax_size = 5\nmin_size = 3\n[[listener]]\naddress = '127.0.0.1:1'\nread_preference = 'nearest'\n"
    );
    let config = load(
        &text,
        &[
            ("TIDEGATE_UPSTREAM__URI", "mongodb://env:1"),
            ("TIDEGATE_POOL__MAX_SIZE", "50"),
            ("TIDEGATE_LIMITS__BUFFER_BYTES", "1GiB"),
            ("TIDEGATE_LISTENER__0__READ_PREFERENCE__MAX_STALENESS", "120s"),
            ("TIDEGATE_LISTENER__0__READ_PREFERENCE__TAGS", "[{ dc = 'ams' }]"),
            ("TIDEGATE_LISTENER__1__ADDRESS", "[::1]:2"),
            ("TIDEGATE_LISTENER__1__COMPRESSORS", "['zstd']"),
            ("TIDEGATE_LISTENER__1__READ_PREFERENCE", "{ mode = 'secondary' }"),
            ("TIDEGATE_ADMIN__ADDRESS", "off"),
            ("TIDEGATE_LOG__FORMAT", "json"),
            ("UNRELATED__THING", "1"),
        ],
    )
    .unwrap();
    assert_eq!(config.upstream.seeds[0].to_string(), "env:1");
    assert_eq!(
        (
            config.pool.max_size,
            config.pool.min_size,
            config.limits.buffer_bytes
        ),
        (50, 3, 1 << 30)
    );
    let [first, second] = &config.listeners[..] else {
        panic!("{:?}", config.listeners)
    };
    assert_eq!(
        first.read_preference.to_string(),
        "readPreference=nearest&readPreferenceTags=dc:ams&maxStalenessSeconds=120"
    );
    assert_eq!(second.address.to_string(), "[::1]:2");
    assert_eq!(second.read_preference.mode, Mode::Secondary);
    assert_eq!(second.compressors, Some(vec![Compressor::Zstd]));
    assert_eq!((config.admin, config.log.format), (None, log::Format::Json));
}

#[test]
fn variables_alone_are_a_configuration() {
    let variables = [
        ("TIDEGATE_UPSTREAM__URI", "mongodb://a"),
        ("TIDEGATE_LISTENER__0__ADDRESS", "127.0.0.1:5"),
    ];
    let config = load("", &variables).unwrap();
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address.tcp().unwrap().port(), 5);
}

#[test]
fn mistakes_name_the_variable() {
    for (name, value, says) in [
        ("TIDEGATE_POOL__MAX_SIZE", "x", "must be a number"),
        (
            "TIDEGATE_POOL__MAXSIZE",
            "5",
            "did you mean TIDEGATE_POOL__MAX_SIZE?",
        ),
        (
            "TIDEGATE_POOL_MAX_SIZE",
            "5",
            "did you mean TIDEGATE_POOL__MAX_SIZE?",
        ),
        (
            "TIDEGATE_LISTENER__ADDRESS",
            "127.0.0.1:1",
            "did you mean TIDEGATE_LISTENER__0__ADDRESS?",
        ),
        (
            "TIDEGATE_LISTENER__2__ADDRESS",
            "127.0.0.1:1",
            "without a gap, and there are only 0",
        ),
        (
            "TIDEGATE_LISTENER__99999999999__ADDRESS",
            "127.0.0.1:1",
            "without a gap",
        ),
        (
            "TIDEGATE_LISTENER__0__READ_PREFERENCE__MODE",
            "x",
            "mode: must be one of",
        ),
        ("TIDEGATE_COLOUR__OF__GATE", "red", "there is no such setting"),
        ("TIDEGATE_CONFG", "a.toml", "did you mean TIDEGATE_CONFIG?"),
        ("TIDEGATE_UPSTREAM__URI", "localhost", "begins with mongodb://"),
    ] {
        let found = mistakes(URI, &[(name, value)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!("{name}: ")) && found[0].contains(says),
            "{}",
            found[0]
        );
    }
}

#[test]
fn variables_of_other_purposes_are_no_mistakes() {
    for name in [
        "TIDEGATE_CONFIG",
        "TIDEGATE_LOG",
        "TIDEGATE_MONGOD",
        "TIDEGATE_SERVICE_HOST",
        "TIDEGATE_SERVICE_PORT_ADMIN",
        "TIDEGATE_PORT",
        "TIDEGATE_PORT_27018_TCP_ADDR",
        "TIDEGATE_POOL_SERVICE_HOST",
    ] {
        assert!(load(URI, &[(name, "tcp://10.0.0.1:27018")]).is_ok(), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_unicode_is_a_mistake() {
    use std::os::unix::ffi::OsStringExt;

    let variable = ("TIDEGATE_LOG__LEVEL".into(), OsString::from_vec(vec![0xff]));
    let mistakes = Loader::new()
        .text(Path::new("a"), URI)
        .variables([variable])
        .load()
        .unwrap_err();
    assert_eq!(
        mistakes.to_string(),
        "TIDEGATE_LOG__LEVEL: the value is not valid Unicode"
    );
}
