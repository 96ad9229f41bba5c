//! Users that change while their clients are connected, from where they may come, and what those get who do not log in.

use std::{
    fs,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use tidegate::auth::{UserName, scram::Hash};

use super::{PASSWORD, client_of, code, proxy, service_uri, user};
use crate::support::{
    Client, Proxy,
    client::{eventually, is_ok},
    login::{begin, log_in},
    users::{on_primary, shared_auth_set},
};

const LIMIT: Duration = Duration::from_secs(30);

fn find() -> Document {
    doc! { "find": "nets" }
}

async fn try_log_in(user: &UserName, password: &str) -> Document {
    let mut client = Client::connect(proxy().address).await;
    log_in(&mut client, Hash::Sha256, user, password).await
}

#[tokio::test]
async fn who_is_dropped_is_logged_out_and_cannot_come_back() {
    let dropped = user("cove", "dropped", &["readWrite"]).await;
    let admin = user("admin", "warden", &["userAdminAnyDatabase"]).await;
    let mut open = client_of(proxy(), &dropped).await;
    open.succeed("cove", find()).await;
    let mut warden = client_of(proxy(), &admin).await;
    let drop = doc! { "dropUser": "dropped", "writeConcern": { "w": 3 } };
    warden.succeed("cove", drop).await;
    // The primary is asked, which has dropped the user itself: others look after changes only now and then.
    let told = open.run("cove", find()).await;
    assert_eq!(code(&told), 13, "{told}");
    let message = told.get_str("errmsg").unwrap();
    assert!(message.contains("requires authentication"), "{message}");
    assert_eq!(code(&try_log_in(&dropped, PASSWORD).await), 18);
    // Another of the same name is another.
    user("cove", "dropped", &["read"]).await;
    eventually("the new user is known", LIMIT, async || {
        is_ok(&try_log_in(&dropped, PASSWORD).await)
    })
    .await;
    let mut again = client_of(proxy(), &dropped).await;
    again.succeed("cove", find()).await;
}

#[tokio::test]
async fn a_password_changed_past_the_proxy_counts_within_the_ttl_and_open_sessions_go_on() {
    let user = user("cove", "changed", &["read"]).await;
    let mut open = client_of(proxy(), &user).await;
    open.succeed("cove", find()).await;
    let change = doc! { "updateUser": "changed", "pwd": "Another-88-word", "$db": "cove" };
    on_primary(shared_auth_set(), change).await;
    let took = eventually("the new password counts", LIMIT, async || {
        is_ok(&try_log_in(&user, "Another-88-word").await)
    })
    .await;
    // A second, and the time to ask on a slow machine.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(code(&try_log_in(&user, PASSWORD).await), 18);
    open.succeed("cove", find()).await;
    let mut client = Client::connect(proxy().address).await;
    let last = log_in(&mut client, Hash::Sha256, &user, "Another-88-word").await;
    assert!(is_ok(&last), "{last}");
    client.succeed("cove", find()).await;
    open.succeed("cove", find()).await;
}

#[tokio::test]
async fn roles_tell_whence_their_users_may_come() {
    for (role, source, refused) in [("afar", "10.0.0.0/8", true), ("nearby", "127.0.0.1", false)] {
        let create = doc! {
            "createRole": role, "privileges": [], "roles": ["read"],
            "authenticationRestrictions": [{ "clientSource": [source] }], "$db": "cove",
        };
        on_primary(shared_auth_set(), create).await;
        // By way of another role, too.
        let outer = format!("outer_{role}");
        let create = doc! { "createRole": &outer, "privileges": [], "roles": [role], "$db": "cove" };
        on_primary(shared_auth_set(), create).await;
        for role in [role, &outer] {
            let user = user("cove", &format!("user_of_{role}"), &[role]).await;
            let last = try_log_in(&user, PASSWORD).await;
            if refused {
                assert_eq!(code(&last), 18, "{role}: {last}");
            } else {
                assert!(is_ok(&last), "{role}: {last}");
                client_of(proxy(), &user).await.succeed("cove", find()).await;
            }
        }
    }
}

#[tokio::test]
async fn users_come_only_from_where_they_may() {
    for (name, source, refused) in [("far", "10.0.0.0/8", true), ("near", "127.0.0.1", false)] {
        let user = user("cove", name, &["read"]).await;
        let restrict = doc! {
            "updateUser": name, "authenticationRestrictions": [{ "clientSource": [source] }], "$db": "cove",
        };
        on_primary(shared_auth_set(), restrict).await;
        let last = try_log_in(&user, PASSWORD).await;
        if refused {
            assert_eq!(code(&last), 18, "{last}");
            assert_eq!(last.get_str("errmsg").unwrap(), "Authentication failed.");
        } else {
            assert!(is_ok(&last), "{last}");
            client_of(proxy(), &user).await.succeed("cove", find()).await;
        }
    }
}

#[tokio::test]
async fn a_login_gives_its_strangers_place_to_the_next_and_rules_of_the_listener_hold_after_it() {
    let user = user("cove", "placed", &["readWrite"]).await;
    let settings = "[limits]\nmax_unauthenticated = 1\n";
    let listener = "deny_commands = ['delete']";
    let proxy = Proxy::start_with(&service_uri(), "", listener, settings);
    let mut first = Client::connect(proxy.address).await;
    first.succeed("admin", doc! { "hello": 1 }).await;
    // The only place is taken.
    let mut turned_away = Client::connect(proxy.address).await;
    assert!(turned_away.try_run("admin", doc! { "hello": 1 }).await.is_err());
    let last = log_in(&mut first, Hash::Sha256, &user, PASSWORD).await;
    assert!(is_ok(&last), "{last}");
    let mut second = client_of(&proxy, &user).await;
    for client in [&mut first, &mut second] {
        client
            .succeed("cove", doc! { "insert": "nets", "documents": [{}] })
            .await;
        let delete = doc! { "delete": "nets", "deletes": [{ "q": {}, "limit": 1 }] };
        let denied = client.run("cove", delete).await;
        assert_eq!(code(&denied), 13, "{denied}");
    }
}

#[tokio::test]
async fn half_a_login_is_closed_in_time_and_strangers_beyond_the_bound_disturb_nobody() {
    let user = user("cove", "timely", &["read"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit");
    let settings =
        format!("[audit]\nfile = {file:?}\n[limits]\nmax_unauthenticated = 2\nlogin_timeout = '1s'\n");
    let proxy = Proxy::start(&service_uri(), &settings);
    let hello = || doc! { "hello": 1 };
    let mut inside = client_of(&proxy, &user).await;
    let started = Instant::now();
    let mut half = Client::connect(proxy.address).await;
    half.succeed("cove", begin(Hash::Sha256, &user).1).await;
    // This one may be a driver's monitor.
    let mut monitor = Client::connect(proxy.address).await;
    monitor.succeed("admin", hello()).await;
    let mut too_many = Client::connect(proxy.address).await;
    assert!(too_many.try_run("admin", hello()).await.is_err());
    assert_eq!(proxy.metric("tidegate_clients_refused_total"), 1.0);
    inside.succeed("cove", find()).await;

    half.closed().await;
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    eventually("its place is free", LIMIT, async || {
        let mut next = Client::connect(proxy.address).await;
        next.try_run("admin", hello()).await.is_ok()
    })
    .await;
    monitor.succeed("admin", hello()).await;
    inside.succeed("cove", find()).await;
    assert_eq!(proxy.metric("tidegate_logins_timed_out_total"), 1.0);
    let told = || fs::read_to_string(&file).unwrap_or_default();
    eventually("it is written down", LIMIT, async || {
        told().contains("\"timed out\"")
    })
    .await;
    let told = told();
    let line = told.lines().find(|line| line.contains("\"timed out\"")).unwrap();
    assert!(
        line.contains("\"login refused\"") && line.contains("\"127.0.0.1:"),
        "{line}"
    );
}
