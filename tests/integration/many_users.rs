//! Many users over few connections: the short form of `cargo bench --bench many_users`.

use std::sync::atomic::Ordering::Relaxed;

use crate::support::{
    Proxy, many_users,
    users::{shared_auth_set, uri_as},
};

const USERS: usize = 24;
const STEPS: u64 = 12;

#[tokio::test]
async fn each_of_many_users_over_few_connections_is_itself_in_every_reply() {
    let set = shared_auth_set();
    many_users::create(set, USERS).await;
    let uri = uri_as(set, "tidegate", "tidegate's password", "admin", "");
    let proxy = Proxy::start(&uri, "[pool]\nmax_size = 4\nmax_awaiting = 0\n");
    let tally = many_users::run(proxy.address, USERS, STEPS, false).await;
    let expected = USERS as u64 * STEPS;
    assert_eq!(tally.own.load(Relaxed), expected);
    assert_eq!(
        tally.refused.load(Relaxed),
        expected,
        "nobody reads what is another's"
    );
    assert!(tally.cut.load(Relaxed) > 0);
    let log = proxy.log();
    assert!(!log.contains("panicked"), "{log}");
}
