//! Many users at once over few connections, each of which must be itself in every reply, whatever breaks meanwhile.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use tidegate::{
    auth::{
        UserName,
        scram::{Hash, Secret, client::Conversation, nonce},
    },
    sandbox::ReplicaSet,
};
use tokio::{task::JoinSet, time::sleep};

use super::{Client, client::is_ok, users::create_user};

/// Every so many commands a client goes away in the middle of one.
const CUT_EVERY: u64 = 17;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Commands that were answered.
    pub(crate) answered: AtomicU64,
    /// Answers of `connectionStatus` that named the client's own user and nobody else.
    pub(crate) own: AtomicU64,
    /// Reads of another user's collection that the node refused, as it must.
    pub(crate) refused: AtomicU64,
    /// Connections that the client left in the middle of a command.
    pub(crate) cut: AtomicU64,
    /// Logins.
    pub(crate) logins: AtomicU64,
    /// Answers with an error that says that no node could take the command.
    pub(crate) unserved: AtomicU64,
}

/// The name of a user, who may read and write the database of the same name and nothing else.
pub(crate) fn name(number: usize) -> String {
    format!("user{number:03}")
}

fn password(number: usize) -> String {
    format!("pass of {number}")
}

/// Makes the users.
pub(crate) async fn create(set: &ReplicaSet, users: usize) {
    for number in 0..users {
        create_user(
            set,
            &name(number),
            &name(number),
            &password(number),
            &["readWrite"],
            &[],
        )
        .await;
    }
}

/// Logs a client in; the secret becomes keys, so that the next login costs no computing.
pub(crate) async fn log_in(
    client: &mut Client,
    user: &UserName,
    secret: &mut Secret,
) -> Result<(), Document> {
    let mut random = [0; 24];
    random.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
    let (conversation, payload) = Conversation::begin(Hash::Sha256, user, &nonce(random));
    let start = doc! {
        "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": binary(payload), "options": { "skipEmptyExchange": true },
    };
    let first = say(client, user, start).await?;
    let asked = conversation
        .read(first.get_binary_generic("payload").unwrap())
        .unwrap();
    let keys = asked.keys(secret).unwrap();
    *secret = Secret::Keys(Arc::clone(&keys));
    let (awaiting, proof) = asked.answer(keys).unwrap();
    let last = say(
        client,
        user,
        doc! { "saslContinue": 1, "conversationId": first.get_i32("conversationId").unwrap(), "payload": binary(proof) },
    )
    .await?;
    awaiting
        .verify(last.get_binary_generic("payload").unwrap())
        .unwrap();
    assert!(last.get_bool("done").unwrap(), "{last}");
    Ok(())
}

fn binary(bytes: Vec<u8>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

async fn say(client: &mut Client, user: &UserName, command: Document) -> Result<Document, Document> {
    let reply = client.try_run(&user.db, command).await;
    let reply = reply.unwrap_or_else(|error| doc! { "ok": 0, "errmsg": error.to_string(), "code": 0 });
    if is_ok(&reply) { Ok(reply) } else { Err(reply) }
}

/// Has `users` users send `commands` commands each to the proxy at `address`. A reply that is another's ends the run.
pub(crate) async fn run(address: SocketAddr, users: usize, commands: u64, may_fail: bool) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let failed = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..users {
        let (tally, failed) = (Arc::clone(&tally), Arc::clone(&failed));
        clients.spawn(async move {
            let user = User {
                number,
                users,
                name: UserName::new(&name(number), &name(number)),
                tally,
            };
            user.work(address, commands, may_fail, &failed).await;
        });
    }
    while let Some(ended) = clients.join_next().await {
        if let Err(panic) = ended {
            failed.store(true, Relaxed);
            std::panic::resume_unwind(panic.into_panic());
        }
    }
    tally
}

struct User {
    number: usize,
    users: usize,
    name: UserName,
    tally: Arc<Tally>,
}

impl User {
    async fn work(&self, address: SocketAddr, commands: u64, may_fail: bool, failed: &AtomicBool) {
        let mut secret = Secret::Password(password(self.number).into());
        let mut client = self.come(address, &mut secret, may_fail).await;
        for step in 0..commands {
            if failed.load(Relaxed) {
                return;
            }
            if (step + self.number as u64) % CUT_EVERY == CUT_EVERY - 1 {
                let sleeps = doc! { "find": "own", "filter": { "$where": "sleep(20) || true" } };
                let _ = client.send(&self.name.db, sleeps).await;
                self.tally.cut.fetch_add(1, Relaxed);
                client = self.come(address, &mut secret, may_fail).await;
            }
            if let Err(error) = self.step(&mut client, step).await {
                let code = error.get_i32("code").unwrap_or_default();
                let is_outage = matches!(code, 0 | 6);
                assert!(may_fail && is_outage, "{}: {error}", self.name);
                self.tally.unserved.fetch_add(1, Relaxed);
                client = self.come(address, &mut secret, may_fail).await;
            }
        }
    }

    /// A new connection that is logged in.
    async fn come(&self, address: SocketAddr, secret: &mut Secret, may_fail: bool) -> Client {
        loop {
            let mut client = Client::connect(address).await;
            match log_in(&mut client, &self.name, secret).await {
                Ok(()) => {
                    self.tally.logins.fetch_add(1, Relaxed);
                    return client;
                }
                Err(error) => assert!(may_fail, "{}: {error}", self.name),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn step(&self, client: &mut Client, step: u64) -> Result<(), Document> {
        let status = say(client, &self.name, doc! { "connectionStatus": 1 }).await?;
        let who = status
            .get_document("authInfo")
            .unwrap()
            .get_array("authenticatedUsers")
            .unwrap();
        let own = Bson::from(doc! { "user": &*self.name.name, "db": &*self.name.db });
        assert_eq!(*who, [own], "{} is somebody else", self.name);
        self.tally.own.fetch_add(1, Relaxed);
        let insert = doc! { "insert": "own", "documents": [{ "of": &*self.name.name, "step": step as i64 }] };
        say(client, &self.name, insert).await?;
        let other = name((self.number + 1) % self.users);
        let refused = client.try_run(&other, doc! { "find": "own", "limit": 1 }).await;
        match refused {
            Ok(reply) if reply.get_i32("code").is_ok_and(|code| code == 13) => {
                self.tally.refused.fetch_add(1, Relaxed);
            }
            Ok(reply) if is_ok(&reply) => panic!("{} reads what is {other}'s: {reply}", self.name),
            Ok(reply) => return Err(reply),
            Err(error) => return Err(doc! { "code": 0, "errmsg": error.to_string() }),
        }
        self.tally.answered.fetch_add(3, Relaxed);
        Ok(())
    }
}
