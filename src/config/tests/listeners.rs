//! What listeners present and reach.

use super::*;
use crate::client::{ListenAddress, Presentation, Reach, Twin};

fn listener(keys: &str) -> client::ListenerOptions {
    let config =
        load(&format!("{URI}[[listener]]\n{keys}"), &[]).unwrap_or_else(|error| panic!("{keys}: {error}"));
    config.listeners[0].clone()
}

#[test]
fn every_key_of_a_listener_reaches_its_option() {
    let alias = listener(
        "address = '0.0.0.0:1'\npresents_as = 'replica_set'\nadvertise = 'proxy:10'\n\
         secondary_address = '0.0.0.0:2'\nadvertise_secondary = 'proxy:20'\n",
    );
    assert_eq!(alias.presents_as, Presentation::ReplicaSet);
    assert_eq!(alias.advertise.as_ref().unwrap().to_string(), "proxy:10");
    let twin = Twin {
        address: "0.0.0.0:2".parse().unwrap(),
        advertise: Some("proxy:20".parse().unwrap()),
    };
    assert_eq!(alias.twin, Some(twin));
    let second = alias.secondary_alias().unwrap();
    assert_eq!(
        (second.address.to_string(), second.reach.clone()),
        ("0.0.0.0:2".to_owned(), Reach::Secondaries)
    );
    assert_eq!(second.twin.unwrap().advertise, alias.advertise);
    let member = listener("address = '[::1]:1'\nnode = 'Db2:5'\n");
    assert_eq!(member.reach, Reach::Node("db2:5".parse().unwrap()));
    for address in ["/run/t.sock", "unix:/run/t.sock"] {
        let unix = listener(&format!("address = '{address}'\nunix_mode = '0660'\n"));
        assert_eq!(unix.address, ListenAddress::Unix("/run/t.sock".into()));
        assert_eq!(unix.unix_mode, 0o660);
    }
}

#[test]
fn whoever_opens_a_listener_to_others_is_warned_of_both_addresses() {
    for (keys, key) in [
        ("address = '0.0.0.0:1'", "listener[0].address: "),
        (
            "presents_as = 'replica_set'\nsecondary_address = '0.0.0.0:2'\nadvertise_secondary = 'a:1'",
            "listener[0].secondary_address: ",
        ),
    ] {
        let config = load(&format!("{URI}[[listener]]\n{keys}\n"), &[]).unwrap();
        assert_eq!(config.warnings.len(), 1, "{keys}: {:?}", config.warnings);
        assert!(config.warnings[0].contains(key), "{keys}: {:?}", config.warnings);
    }
}

#[test]
fn mistakes_about_listeners_say_what_to_do() {
    let long = format!("address = '/{}'", "x".repeat(107));
    for (keys, expected) in [
        (
            "address = '0.0.0.0:1'\npresents_as = 'replica_set'",
            "listener[0].advertise: is missing: drivers are told",
        ),
        (
            "address = '10.0.0.1:1'\nnode = 'a'",
            "listener[0].advertise: is missing",
        ),
        (
            "address = '/x.sock'\npresents_as = 'replica_set'",
            "listener[0].advertise: is missing",
        ),
        (
            "presents_as = 'replica_set'\nsecondary_address = '0.0.0.0:2'",
            "listener[0].advertise_secondary: is missing",
        ),
        (
            "advertise = 'a:1'\npresents_as = 'replica_set'\nsecondary_address = '127.0.0.1:2'\nadvertise_secondary = 'A:1'",
            "listener[0].advertise_secondary: is by what applications find the primary too",
        ),
        (
            "advertise = '[::]:5'",
            "listener[0].advertise: is no address that can be dialled",
        ),
        (
            "advertise_secondary = 'a:1'",
            "has no meaning without secondary_address",
        ),
        (
            "secondary_address = '127.0.0.1:2'",
            "needs presents_as = \"replica_set\"",
        ),
        (
            "presents_as = 'replica_set'\nsecondary_address = '127.0.0.1:27018'",
            "is the listener's own address",
        ),
        (
            "address = '/x.sock'\nadvertise = 'a'\npresents_as = 'replica_set'\nsecondary_address = '127.0.0.1:2'",
            "needs an IP address and port as address too",
        ),
        (
            "node = 'a'\npresents_as = 'mongos'",
            "presents_as: has no meaning with node",
        ),
        (
            "node = 'a'\nread_preference = 'nearest'",
            "has no meaning with node",
        ),
        ("node = 'a b'", "listener[0].node: address \"a b\""),
        ("advertise = ':1'", "names no host"),
        ("unix_mode = '0660'", "is not the path of a Unix domain socket"),
        ("address = '/x.sock'\nunix_mode = '999'", "is no access mode"),
        ("address = 'x.sock'", "nor an absolute path"),
        (&long, "has at most 107"),
        (
            "address = '/x.sock'\n[[listener]]\naddress = 'unix:/x.sock'",
            "/x.sock is taken by listener[0]",
        ),
        (
            "presents_as = 'replica_set'\nsecondary_address = '127.0.0.1:5'\n[[listener]]\naddress = '127.0.0.1:5'",
            "127.0.0.1:5 is taken by listener[0]",
        ),
    ] {
        let found = mistakes(&format!("{URI}[[listener]]\n{keys}\n"), &[]);
        assert_eq!(found.len(), 1, "{keys}: {found:?}");
        assert!(found[0].contains(expected), "{keys}: {found:?}");
    }
}
