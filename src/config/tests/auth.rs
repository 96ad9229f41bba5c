//! `[auth]`, and what the connection string has to do with it.

use std::time::Duration;

use super::*;
use crate::auth::{Mechanism, Options, Source};

const OPEN: &str = "[upstream]\nuri = 'mongodb://a'\n";
const WITH_USER: &str = "[upstream]\nuri = 'mongodb://ann:pw@a'\n";

#[test]
fn every_setting_reaches_its_option() {
    let text = format!(
        "{OPEN}[auth]\nsource = 'file'\nusers_file = 'users.toml'\ncredential_ttl = '5s'\nmechanisms = ['PLAIN', 'MONGODB-CR']"
    );
    assert_eq!(
        load(&text, &[]).unwrap().auth,
        Options {
            source: Source::File,
            users_file: Some("users.toml".into()),
            credential_ttl: Duration::from_secs(5),
            mechanisms: vec![Mechanism::Plain, Mechanism::MongodbCr],
        }
    );
}

#[test]
fn the_source_is_the_cluster_where_the_uri_names_a_user() {
    let source = |text: &str| load(text, &[]).unwrap().auth.source;
    assert_eq!(source(OPEN), Source::None);
    assert_eq!(source(WITH_USER), Source::Backend);
    assert_eq!(
        source(&format!(
            "{WITH_USER}[auth]\nsource = 'none'\nserve_without_login = true"
        )),
        Source::None
    );
    let variables = [
        ("TIDEGATE_AUTH__SOURCE", "none"),
        ("TIDEGATE_AUTH__SERVE_WITHOUT_LOGIN", "true"),
    ];
    assert_eq!(load(WITH_USER, &variables).unwrap().auth.source, Source::None);
}

#[test]
fn the_service_user_is_that_of_the_uri() {
    let user = |text: &str| {
        load(text, &[])
            .unwrap()
            .upstream
            .service
            .map(|login| login.user().to_string())
    };
    assert_eq!(user(OPEN), None);
    assert_eq!(user(WITH_USER).as_deref(), Some("ann@admin"));
}

#[test]
fn the_txt_record_says_where_the_user_is_kept() {
    let config = load("[upstream]\nuri = 'mongodb+srv://ann:pw@a.b.c/?tls=false'", &[]).unwrap();
    let found = |txt: Option<&str>| upstream::Seedlist {
        hosts: vec!["n.b.c".parse().unwrap()],
        txt: txt.map(str::to_owned),
        ttl: Duration::from_secs(60),
    };
    let user = |txt| {
        let resolved = config.with_seedlist(found(txt)).unwrap();
        resolved.upstream.service.unwrap().user().to_string()
    };
    assert_eq!(user(None), "ann@admin");
    assert_eq!(user(Some("authSource=people")), "ann@people");
}

#[test]
fn what_does_not_go_together_is_a_mistake_with_its_place() {
    for (text, place, says) in [
        (
            format!("{WITH_USER}[auth]\nsource = 'none'"),
            "proxy.toml:4: auth.source: ",
            "serve_without_login = true if that is meant",
        ),
        (
            format!("{OPEN}[auth]\nsource = 'backend'"),
            "proxy.toml:4: auth.source: ",
            "names no user to read them as",
        ),
        (
            format!("{OPEN}[auth]\nsource = 'file'"),
            "proxy.toml:3: auth.users_file: ",
            "is missing",
        ),
        (
            format!("{OPEN}[auth]\nusers_file = 'x'"),
            "proxy.toml:4: auth.users_file: ",
            "no meaning with source",
        ),
        (
            format!("{WITH_USER}[auth]\nserve_without_login = true"),
            "proxy.toml:4: auth.serve_without_login: ",
            "contradicts source",
        ),
        (
            format!("{WITH_USER}[auth]\nserve_without_login = 'on'"),
            "proxy.toml:4: auth.serve_without_login: ",
            "must be true or false",
        ),
        (
            format!("{WITH_USER}[auth]\nmechanisms = []"),
            "proxy.toml:4: auth.mechanisms: ",
            "nobody could log in",
        ),
        (
            format!("{WITH_USER}[auth]\nmechanisms = ['MONGODB-CR']"),
            "proxy.toml:4: auth.mechanisms: ",
            "needs a users_file",
        ),
        (
            format!("{WITH_USER}[auth]\nmechanisms = ['SCRAM-SHA-265']"),
            "proxy.toml:4: auth.mechanisms: ",
            "there are SCRAM-SHA-256, SCRAM-SHA-1,",
        ),
        (
            format!("{WITH_USER}[auth]\nmechanisms = 'SCRAM-SHA-256'"),
            "proxy.toml:4: auth.mechanisms: ",
            "must be a list",
        ),
        (
            format!("{WITH_USER}[auth]\nmechanisms = ['PLAIN', 'PLAIN']"),
            "proxy.toml:4: auth.mechanisms: ",
            "listed twice",
        ),
        (
            format!("{WITH_USER}[auth]\nsource = 'backent'"),
            "proxy.toml:4: auth.source: ",
            "did you mean \"backend\"?",
        ),
    ] {
        let found = mistakes(&text, &[]);
        assert!(
            found.len() == 1 && found[0].starts_with(place) && found[0].contains(says),
            "{found:?}"
        );
    }
}

#[test]
fn an_address_for_everybody_is_worth_a_warning_only_where_nobody_logs_in() {
    let listener = "[[listener]]\naddress = '0.0.0.0:1'\n";
    let warnings = |text: &str| load(&format!("{text}{listener}"), &[]).unwrap().warnings;
    let open = warnings(OPEN);
    assert!(
        open.len() == 1 && open[0].starts_with("proxy.toml:4: listener[0].address: clients need not log in"),
        "{open:?}"
    );
    assert!(warnings(WITH_USER).is_empty());
}
