//! A replica set that demands logins, and its users.

use std::sync::OnceLock;

use bson::{Bson, Document, doc};
use tidegate::sandbox::{Options, ReplicaSet};

use super::set::start_set;

/// What all tests that do no harm share: three nodes that demand logins, with the user `root`@`admin` who may do everything, and
/// `tidegate`@`admin` who may read the users and their roles, and nothing else. Tests make users of their own with [`create_user`].
pub(crate) fn shared_auth_set() -> &'static ReplicaSet {
    static SET: OnceLock<ReplicaSet> = OnceLock::new();
    SET.get_or_init(|| {
        let set = start_set(Options {
            authentication: true,
            mongod_arguments: vec!["--setParameter".to_owned(), "enableTestCommands=1".to_owned()],
            ..Options::default()
        });
        blocking(async || prepare(&set).await);
        set
    })
}

/// Makes the two users that [`shared_auth_set`] has.
pub(crate) async fn prepare(set: &ReplicaSet) {
    create_user(set, "admin", "root", "root's password", &["root"], &[]).await;
    let role = doc! {
        "createRole": "tidegate",
        "privileges": [
            { "resource": { "db": "admin", "collection": "system.users" }, "actions": ["find"] },
            { "resource": { "db": "admin", "collection": "system.roles" }, "actions": ["find"] },
        ],
        "roles": [],
    };
    on_primary(set, role).await;
    create_user(
        set,
        "admin",
        "tidegate",
        "tidegate's password",
        &["tidegate"],
        &[],
    )
    .await;
}

/// Makes a user on every node, with these mechanisms (all that the server has, if none is given).
pub(crate) async fn create_user(
    set: &ReplicaSet,
    db: &str,
    name: &str,
    password: &str,
    roles: &[&str],
    mechanisms: &[&str],
) {
    let roles: Vec<Bson> = roles.iter().map(|role| (*role).into()).collect();
    let mut command = doc! { "createUser": name, "pwd": password, "roles": roles, "$db": db };
    if !mechanisms.is_empty() {
        let mechanisms: Vec<Bson> = mechanisms.iter().map(|name| (*name).into()).collect();
        command.insert("mechanisms", mechanisms);
    }
    on_primary(set, command).await;
}

/// Runs a command with all rights on the primary, and waits until every node has what it changed.
pub(crate) async fn on_primary(set: &ReplicaSet, mut command: Document) -> Document {
    let nodes = i32::try_from(set.options().nodes).unwrap();
    command.insert("writeConcern", doc! { "w": nodes, "wtimeout": 30_000 });
    let primary = set.primary().await.unwrap();
    set.command(primary, command).await.unwrap()
}

/// `mongodb://` with this user, who is kept in `db`, and further options.
pub(crate) fn uri_as(set: &ReplicaSet, name: &str, password: &str, db: &str, options: &str) -> String {
    let password = password.replace(' ', "%20").replace('\'', "%27");
    let plain = set.uri();
    let rest = plain.strip_prefix("mongodb://").unwrap();
    format!("mongodb://{name}:{password}@{rest}&authSource={db}{options}")
}

/// On a thread and runtime of its own, because the caller may be inside a runtime already.
fn blocking(task: impl AsyncFnOnce() + Send) {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(task());
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap();
}
