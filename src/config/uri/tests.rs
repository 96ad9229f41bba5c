//! The connection string by tables.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    tls::{ConnectorOptions, Password},
    topology::{Mode, TagSet},
    wire::Compressor,
};

fn parsed(uri: &str) -> ConnectionString {
    parse(uri).unwrap_or_else(|errors| panic!("{uri}: {errors:?}"))
}

/// All that is wrong with a string, or cannot be done.
fn errors(uri: &str) -> String {
    let errors = parse_supported(uri).expect_err(uri);
    errors
        .iter()
        .map(UriError::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The options that concern a proxy, and every warning and note.
fn told(uri: &str) -> (UriOptions, Vec<String>) {
    let parsed = parsed(uri);
    let supported = parsed
        .supported()
        .unwrap_or_else(|errors| panic!("{uri}: {errors:?}"));
    (supported.options, [parsed.warnings, supported.notes].concat())
}

/// The options alone, which must bring no warning.
fn options(query: &str) -> UriOptions {
    let (options, warnings) = told(&format!("mongodb://a/?{query}"));
    assert!(warnings.is_empty(), "{query}: {warnings:?}");
    options
}

/// The options, which must bring one warning that says this.
fn warned(query: &str, says: &str) -> UriOptions {
    let (options, warnings) = told(&format!("mongodb://a/?{query}"));
    assert!(
        warnings.len() == 1 && warnings[0].contains(says),
        "{query}: {warnings:?}"
    );
    options
}

#[test]
fn hosts_are_names_and_addresses_with_or_without_a_port() {
    for (uri, expected) in [
        ("mongodb://a", &["a:27017"][..]),
        ("MongoDB://a:1/", &["a:1"]),
        (
            "mongodb://a,b:2,[::1]:3,[fe80::1%25eth0],127.0.0.1",
            &[
                "a:27017",
                "b:2",
                "[::1]:3",
                "[fe80::1%eth0]:27017",
                "127.0.0.1:27017",
            ],
        ),
        (
            "mongodb://A.Example.com,a.example.com:27017",
            &["a.example.com:27017"],
        ),
        ("mongodb://a?replicaSet=rs", &["a:27017"]),
        ("mongodb://%61", &["a:27017"]),
    ] {
        let hosts: Vec<_> = parsed(uri).hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, expected, "{uri}");
    }
}

#[test]
fn faults_of_form_are_errors() {
    for (uri, says) in [
        ("", "begins with mongodb://"),
        ("localhost:27017", "begins with mongodb://"),
        ("mongo://a", "begins with mongodb://"),
        ("mongodb://", "no host is named"),
        ("mongodb:///db", "no host is named"),
        ("mongodb://a,,b", "host 2: "),
        ("mongodb://a:0", "host 1: "),
        ("mongodb://a:65536", "host 1: "),
        ("mongodb://a::1", "host 1: "),
        ("mongodb://[::1", "host 1: "),
        ("mongodb://%2Ftmp%2Fmongodb-27017.sock", "Unix domain socket"),
        ("mongodb://a%2", "host 1 has a broken percent-encoding"),
        ("mongodb://a%ff", "host 1 has a broken percent-encoding"),
        (
            "mongodb://a/d%b",
            "the database name has a broken percent-encoding",
        ),
        ("mongodb://a/b/c", "not a database name"),
        ("mongodb://a/?w", "option 1 is not written name=value"),
        ("mongodb://a/?appName=x&=y", "option 2 is not written name=value"),
        (
            "mongodb://a/?appName=%x",
            "option 1 has a broken percent-encoding",
        ),
    ] {
        let errors = errors(uri);
        assert!(errors.contains(says), "{uri}: {errors}");
    }
    assert_eq!(errors("mongodb://a:0,b,c:x/?w&tls=true").lines().count(), 3);
}

#[test]
fn what_cannot_be_done_is_an_error_and_not_ignored() {
    for (uri, says) in [
        ("mongodb://u@a", "a password is missing"),
        ("mongodb://u:p/q@a", "write it as %40"),
        (
            "mongodb://u:p@a/?authmechanism=PLAIN",
            "authMechanism: PLAIN sends the password as it is",
        ),
        ("mongodb://a/?tls=yes", "tls: must be true or false"),
        ("mongodb://a/?tls=true&ssl=false", "both true and false"),
        (
            "mongodb://a/?tlsCAFile=x",
            "tlsCAFile: has a meaning only with TLS: add tls=true",
        ),
        (
            "mongodb://a/?tlsInsecure=true&ssl=true&tlsDisableOCSPEndpointCheck=true",
            "cannot be given together",
        ),
        ("mongodb://a/?loadBalanced=true", "loadBalanced: "),
        (
            "mongodb://a/?srvMaxHosts=1",
            "srvMaxHosts can be given with mongodb+srv:// only",
        ),
        ("mongodb://a/?proxyHost=x", "proxyHost: "),
        (
            "mongodb://a,b/?directConnection=true",
            "directConnection=true takes one host only",
        ),
    ] {
        let errors = errors(uri);
        assert!(errors.contains(says), "{uri}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn honoured_options_are_read_whatever_their_case() {
    let millis = |millis| Some(Duration::from_millis(millis));
    assert_eq!(options(""), UriOptions::default());
    assert_eq!(
        options(
            "REPLICASET=rs&directconnection=true&AppName=my%20app&connectTimeoutMS=1&heartbeatFrequencyMS=500\
             &serverSelectionTimeoutMS=2&localThresholdMS=0&maxPoolSize=3&minPoolSize=0&maxConnecting=1\
             &waitQueueTimeoutMS=5&maxIdleTimeMS=6&compressors=zstd,zlib,zstd&ZLIBCompressionLevel=-1&tls=false&ssl=false&loadBalanced=false"
        ),
        UriOptions {
            set_name: Some("rs".to_owned()),
            direct: Some(true),
            app_name: Some("my app".to_owned()),
            connect_timeout: millis(1),
            heartbeat: millis(500),
            server_selection_timeout: millis(2),
            local_threshold: millis(0),
            max_pool_size: Some(3),
            min_pool_size: Some(0),
            max_connecting: Some(1),
            wait_timeout: millis(5),
            max_idle: Some(millis(6)),
            read_preference: None,
            compressors: Some(vec![Compressor::Zstd, Compressor::Zlib]),
            zlib_level: Some(-1),
            tls: None,
        }
    );
    assert_eq!(options("maxIdleTimeMS=0").max_idle, Some(None));
}

#[test]
fn tls_is_spoken_as_the_string_says_and_by_default_with_srv() {
    let plain = ConnectorOptions::default();
    for (uri, expected) in [
        ("mongodb://a", None),
        ("mongodb://a/?tls=true", Some(plain.clone())),
        ("mongodb://a/?ssl=true&tls=true", Some(plain.clone())),
        ("mongodb+srv://a.b.c", Some(plain.clone())),
        ("mongodb+srv://a.b.c/?ssl=false", None),
        ("mongodb://a/?tls=false&tlsCAFile=x", None),
        (
            "mongodb://a/?tls=true&tlsCAFile=ca.pem&tlsCertificateKeyFile=%2Fme.pem&tlsCertificateKeyFilePassword=p%20w",
            Some(ConnectorOptions {
                ca: Some("ca.pem".into()),
                certificate_key: Some("/me.pem".into()),
                key_password: Some(Password::Text("p w".into())),
                ..plain.clone()
            }),
        ),
        (
            "mongodb://a/?tls=true&tlsAllowInvalidHostnames=true&tlsDisableCertificateRevocationCheck=true",
            Some(ConnectorOptions {
                allow_invalid_hostnames: true,
                ..plain.clone()
            }),
        ),
        (
            "mongodb://a/?tls=true&tlsInsecure=true",
            Some(ConnectorOptions {
                allow_invalid_hostnames: true,
                allow_invalid_certificates: true,
                ..plain
            }),
        ),
    ] {
        let supported = parsed(uri).supported().unwrap();
        assert_eq!(supported.options.tls, expected, "{uri}");
    }
}

#[test]
fn read_preferences_keep_the_order_of_their_tag_sets() {
    let given = options(
        "readPreference=secondary&readPreferenceTags=dc:ny,rack:1&maxStalenessSeconds=120&readPreferenceTags=",
    );
    let tags = [("dc", "ny"), ("rack", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let parts = given.read_preference.unwrap();
    assert_eq!(parts.mode, Some(Mode::Secondary));
    assert_eq!(parts.tag_sets, [TagSet(tags.to_vec()), TagSet(vec![])]);
    assert_eq!(parts.max_staleness, Some(Duration::from_secs(120)));
    assert_eq!(options("maxStalenessSeconds=-1").read_preference, None);
}

#[test]
fn invalid_values_are_ignored_with_a_warning() {
    for (query, says) in [
        (
            "connectTimeoutMS=soon",
            "connectTimeoutMS=soon is ignored: it must be a number of milliseconds",
        ),
        ("connectTimeoutMS=0", "may not take forever"),
        ("connectTimeoutMS=-2", "from 0 to"),
        ("heartbeatFrequencyMS=499", "from 500 to"),
        ("waitQueueTimeoutMS=99999999999999999999", "from 1 to"),
        ("maxIdleTimeMS=18446744073709551615", "from 0 to"),
        ("maxIdleTimeMS=", "is ignored"),
        (
            "maxPoolSize=0",
            "maxPoolSize=0 is ignored: it must be a number from 1 to",
        ),
        ("maxConnecting=0", "from 1 to"),
        ("directConnection=1", "true or false"),
        ("loadBalanced=1", "true or false"),
        ("replicaSet=", "not empty"),
        ("readPreference=Secondary", "did you mean secondary?"),
        ("readPreferenceTags=invalid", "written dc:ny,rack:1"),
        ("compressors=snoopy", "must be some of snappy, zlib, zstd"),
        ("zlibCompressionLevel=10", "a number from -1 to 9"),
        ("zlibCompressionLevel=fast", "a number from -1 to 9"),
        ("maxStalenessSeconds=-2", "or -1 for no bound"),
    ] {
        assert_eq!(warned(query, says), UriOptions::default(), "{query}");
    }
    let known = warned("compressors=snappy,zst,zlib", "did you mean zstd?").compressors;
    assert_eq!(known, Some(vec![Compressor::Snappy, Compressor::Zlib]));
    let long = format!("appName={}", "x".repeat(129));
    assert_eq!(warned(&long, "at most 128 bytes").app_name, None);
}

#[test]
fn what_is_the_drivers_has_no_effect_and_the_warning_says_why() {
    for (query, says) in [
        (
            "w=majority",
            "w has no effect: read and write concerns come from the client",
        ),
        ("journal=true", "journal has no effect"),
        ("retryWrites=true", "the application's driver"),
        ("authSource=admin", "none is named"),
        ("socketTimeoutMS=1", "up to the client"),
        ("foo=bar", "\"foo\" is ignored: there is no such option"),
        ("replicatSet=rs", "did you mean replicaSet?"),
    ] {
        assert_eq!(warned(query, says), UriOptions::default(), "{query}");
    }
    assert!(told("mongodb://a/mydb").1[0].contains("database name has no effect"));
}

#[test]
fn of_a_repeated_option_the_last_counts() {
    assert_eq!(
        warned("appName=x&APPNAME=y", "more than once")
            .app_name
            .as_deref(),
        Some("y")
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,100}") {
        let _ = parse(&text);
        let _ = parse(&format!("mongodb://{text}"));
        let _ = parse(&format!("mongodb://a/?{text}"));
    }

    #[test]
    fn nothing_of_a_password_is_ever_shown(
        password in "[a-z0-9:/?#%&=,.\\[\\]@+;]{0,12}SECRET[a-z0-9:/?#%&=,.\\[\\]@+;]{0,12}",
        tail in "(/|/db|\\?w=1|/\\?appName=x)?",
    ) {
        let uri = format!("mongodb://user:{password}@host{tail}");
        let shown = match parse_supported(&uri) {
            Ok(read) => format!("{read:?} {:?}", read.1.credential.as_ref().map(|credential| credential.login())),
            Err(errors) => format!("{errors:?} {:?}", errors.iter().map(ToString::to_string).collect::<Vec<_>>()),
        };
        prop_assert!(!shown.contains("SECRET"), "{shown}");
    }

    #[test]
    fn valid_strings_keep_their_hosts_in_order(hosts in prop::collection::hash_set("[a-z]{1,8}:[1-9][0-9]{0,3}", 1..5)) {
        let hosts: Vec<_> = hosts.into_iter().collect();
        let parsed = parse(&format!("mongodb://{}/?replicaSet=rs", hosts.join(","))).unwrap();
        prop_assert_eq!(parsed.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), hosts);
    }
}

#[test]
fn credentials_are_read_and_never_shown() {
    for (uri, username, password) in [
        ("mongodb://us%40er:p%3Aw@a/db", "us@er", Some("p:w")),
        ("mongodb://user@a", "user", None),
        ("mongodb://user:@a", "user", Some("")),
        ("mongodb+srv://user:pw@a.b.c", "user", Some("pw")),
    ] {
        let parsed = parsed(uri);
        let user = parsed.user.as_ref().unwrap();
        assert_eq!(user.username.expose(), username);
        assert_eq!(user.password.as_ref().map(Secret::expose), password);
        let shown = format!("{parsed:?}");
        assert!(!shown.contains("user") || !shown.contains("us@er"), "{shown}");
        assert!(shown.contains("username: ***"), "{shown}");
    }
    for uri in [
        "mongodb://@a",
        "mongodb://:pw@a",
        "mongodb://u:p:w@a",
        "mongodb://u@p@a",
        "mongodb://u%x@a",
    ] {
        assert_eq!(parse(uri).unwrap_err(), [UriError::UserInfo], "{uri}");
    }
}

#[test]
fn what_may_be_a_password_without_its_host_is_not_quoted() {
    for uri in [
        "mongodb://user:hunter2",
        "mongodb://user:hun:ter2/db",
        "mongodb://hun ter2",
    ] {
        let errors = errors(uri);
        assert!(!errors.contains("ter2"), "{errors}");
    }
}

#[test]
fn secrets_among_the_options_are_redacted() {
    let parsed = parsed(
        "mongodb://a/?tlsCertificateKeyFilePassword=hunter2&proxyHost=p&proxyUsername=hunter2&proxyPassword=hunter2\
         &authMechanismProperties=AWS_SESSION_TOKEN:hunter2",
    );
    assert!(
        matches!(parsed.options.get("proxyPassword"), Some(Value::Secret(secret)) if secret.expose() == "hunter2")
    );
    assert!(!format!("{parsed:?}").contains("hunter2"));
    let errors = parsed.supported().unwrap_err();
    assert_eq!(errors.len(), 5);
    assert!(!format!("{errors:?}").contains("hunter2"));
}

#[test]
fn srv_strings_name_one_host_of_a_domain() {
    for (uri, host) in [
        ("mongodb+srv://A.B.c/?tls=false", "a.b.c"),
        ("mongodb+srv://a.b.c./?tls=false", "a.b.c"),
        ("mongodb+srv://localhost/?tls=false", "localhost"),
        ("mongodb+srv://mongo.local/?tls=false", "mongo.local"),
    ] {
        let supported = parsed(uri).supported().unwrap();
        assert!(supported.seeds.is_empty());
        assert_eq!(supported.srv.unwrap().name(), format!("_mongodb._tcp.{host}"));
    }
    let given = parsed("mongodb+srv://a.b.c/?ssl=false&srvServiceName=other&srvMaxHosts=3").supported();
    let srv = given.unwrap().srv.unwrap();
    assert_eq!((srv.name().as_str(), srv.max_hosts), ("_other._tcp.a.b.c", 3));
    for (uri, says) in [
        ("mongodb+srv://", "no host"),
        ("mongodb+srv://a.b.c,d.e.f", "more than one host"),
        ("mongodb+srv://a.b.c:27017", "a port"),
        ("mongodb+srv://127.0.0.1", "IP address"),
        ("mongodb+srv://[::1]", "IP address"),
        ("mongodb+srv://a..c", "empty"),
        ("mongodb+srv://a.b.c/?directConnection=true", "directConnection"),
        (
            "mongodb+srv://a.b.c/?srvMaxHosts=1&replicaSet=rs",
            "srvMaxHosts and replicaSet",
        ),
    ] {
        let errors = errors(uri);
        assert!(errors.contains(says), "{uri}: {errors}");
    }
    for query in [
        "srvServiceName=-a",
        "srvServiceName=a.b",
        "srvServiceName=1",
        "srvMaxHosts=-1",
    ] {
        assert_eq!(
            parsed(&format!("mongodb+srv://a.b.c/?{query}")).warnings.len(),
            1,
            "{query}"
        );
    }
}

#[test]
fn the_txt_record_gives_defaults_that_the_string_overrides() {
    let resolve = |uri: &str, txt| parsed(uri).resolved(vec!["n.b.c".parse().unwrap()], txt);
    let set_name = |uri: &str, txt| resolve(uri, txt).unwrap().supported().unwrap().options.set_name;
    let uri = "mongodb+srv://a.b.c/?tls=false";
    assert_eq!(set_name(uri, None), None);
    assert_eq!(
        set_name(uri, Some("authSource=x&replicaSet=rs")).as_deref(),
        Some("rs")
    );
    assert_eq!(
        set_name(
            "mongodb+srv://a.b.c/?tls=false&replicaSet=mine",
            Some("replicaSet=rs")
        )
        .as_deref(),
        Some("mine")
    );
    for (uri, txt, says) in [
        (uri, "ssl=false", "an option other than"),
        (uri, "socketTimeoutMS=5", "an option other than"),
        (uri, "authSource", "the TXT record: option 1 is not written"),
        (uri, "loadBalanced=true&replicaSet=rs", "cannot be given together"),
        (
            "mongodb+srv://a.b.c/?srvMaxHosts=1",
            "replicaSet=rs",
            "srvMaxHosts and replicaSet",
        ),
    ] {
        let errors = format!(
            "{:?}",
            resolve(uri, Some(txt))
                .unwrap_err()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        );
        assert!(errors.contains(says), "{txt}: {errors}");
    }
    assert_eq!(
        parsed(uri).resolved(vec![], None).unwrap_err(),
        [UriError::NoHost]
    );
}

#[test]
fn an_option_may_hold_an_at_sign_only_in_a_string_that_is_sound() {
    assert!(parse("mongodb://u:p@a/?replicaSet=x@y").is_ok());
    for uri in [
        "mongodb://a/?replicaSet=x@y",
        "mongodb://u:p@a/?foo=x@y",
        "mongodb://u:p@a:x/?replicaSet=x@y",
    ] {
        assert_eq!(parse(uri).unwrap_err(), [UriError::StrayAt], "{uri}");
    }
}
