//! A run with logins and TLS: the nodes demand logins and take TLS, the proxy demands both, and clients are several users.
//!
//! The members, and this program as one of them, talk without TLS (`--tlsMode allowTLS`). Everybody else's TLS ends at the relays,
//! which have a certificate of the same authority, and go on with TLS to the nodes.

use bson::{Bson, Document, doc};
use serde_json::json;
use tidegate::{
    sandbox::{Guard, Options, ReplicaSet, temporary_folder},
    tls::{Acceptor, AcceptorOptions, Connector, ConnectorOptions},
};

use super::DATABASE;
use crate::support::{certificates::Authority, relay::Ends, users::on_primary};

const SERVICE: (&str, &str) = ("tidegate", "the service's password");

/// An application's user, with all rights in the workloads' database, and in `own_NAME`, where nobody else has any.
#[derive(Debug, PartialEq)]
pub(crate) struct User {
    name: &'static str,
    db: &'static str,
    mechanism: &'static str,
    /// One whose data it may not read.
    other: &'static str,
}

/// Of both mechanisms, and of several databases.
pub(crate) const USERS: [User; 3] = [
    User {
        name: "ann",
        db: "admin",
        mechanism: "SCRAM-SHA-256",
        other: "ben",
    },
    User {
        name: "ben",
        db: "people",
        mechanism: "SCRAM-SHA-1",
        other: "cleo",
    },
    User {
        name: "cleo",
        db: "people",
        mechanism: "SCRAM-SHA-256",
        other: "ann",
    },
];

impl User {
    fn password(&self) -> String {
        format!("{}-sesame", self.name)
    }

    /// What workers are told.
    pub(super) fn told(&self) -> serde_json::Value {
        json!({ "user": self.name, "db": self.db, "other": self.other })
    }
}

/// Certificates in a folder that goes with it.
#[derive(Debug)]
pub(super) struct Secure {
    authority: Authority,
    server: String,
    _guard: Guard,
}

impl Secure {
    pub(super) fn new() -> Self {
        let folder = temporary_folder().unwrap();
        let guard = Guard::for_temporary(&folder).unwrap();
        let authority = Authority::in_folder(folder);
        let server = authority.server().display().to_string();
        Self {
            authority,
            server,
            _guard: guard,
        }
    }

    fn ca(&self) -> String {
        self.authority.ca().display().to_string()
    }

    /// The nodes with logins and TLS.
    pub(super) fn demand(&self, options: &mut Options) {
        options.authentication = true;
        let more = [
            "--tlsMode",
            "allowTLS",
            "--tlsCertificateKeyFile",
            &self.server,
            "--tlsCAFile",
            &self.ca(),
            "--tlsAllowConnectionsWithoutCertificates",
        ];
        options.mongod_arguments.extend(more.map(str::to_owned));
    }

    pub(super) fn ends(&self) -> Ends {
        let acceptor = AcceptorOptions::new(self.server.clone().into(), None);
        let connector = ConnectorOptions {
            ca: Some(self.authority.ca()),
            ..ConnectorOptions::default()
        };
        Ends {
            acceptor: Acceptor::new(acceptor).unwrap(),
            connector: Connector::new(connector).unwrap(),
        }
    }

    /// Keys of the proxy's listener.
    pub(super) fn listener(&self) -> String {
        format!(
            "[listener.tls]\nmode = \"require\"\ncertificate = {:?}\n",
            self.server
        )
    }

    /// The connection string of the service user.
    pub(super) fn as_service(&self, uri: &str) -> String {
        let (name, password) = SERVICE;
        self.uri_as(uri, name, password, "admin")
    }

    /// The connection string of an application's user.
    pub(super) fn as_user(&self, uri: &str, user: &User) -> String {
        self.uri_as(uri, user.name, &user.password(), user.db)
    }

    fn uri_as(&self, uri: &str, name: &str, password: &str, db: &str) -> String {
        let password = password.replace(' ', "%20").replace('\'', "%27");
        let rest = uri.strip_prefix("mongodb://").unwrap();
        let and = if rest.contains('?') { '&' } else { '?' };
        let ca = self.ca();
        format!("mongodb://{name}:{password}@{rest}{and}authSource={db}&tls=true&tlsCAFile={ca}")
    }
}

/// Makes the service user as the documentation has it, all other users, and what is theirs.
pub(super) async fn create_users(set: &ReplicaSet) {
    let find = |collection: &str| doc! { "resource": { "db": "admin", "collection": collection }, "actions": ["find"] };
    let role = doc! {
        "createRole": "tidegate", "privileges": [find("system.users"), find("system.roles")], "roles": [], "$db": "admin",
    };
    on_primary(set, role).await;
    let (name, password) = SERVICE;
    on_primary(
        set,
        doc! { "createUser": name, "pwd": password, "roles": ["tidegate"], "$db": "admin" },
    )
    .await;
    for user in &USERS {
        let own = format!("own_{}", user.name);
        let roles = [DATABASE, &own].map(|db| Bson::from(doc! { "role": "readWrite", "db": db }));
        let user_command: Document = doc! {
            "createUser": user.name, "pwd": user.password(), "roles": roles.to_vec(), "mechanisms": [user.mechanism],
            "$db": user.db,
        };
        on_primary(set, user_command).await;
        on_primary(
            set,
            doc! { "insert": "things", "documents": [{ "_id": user.name }], "$db": own },
        )
        .await;
    }
}
