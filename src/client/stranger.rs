//! What is done about clients that have not logged in where that is demanded.
//!
//! A client must have logged in within `[limits] login_timeout`, or its connection is closed: else half a login, or none, would hold a
//! place for as long as somebody likes. Drivers' monitoring connections are the exception. They never log in (Server Discovery and
//! Monitoring specification, "Authentication"), send `hello` and `ping` and nothing else, and must live: closing them would have the driver
//! take the proxy for dead every half minute, and drop its pool. So who has sent nothing else has no deadline, and is counted among
//! those that have not logged in (`admission`), which bounds what can be done by pretending to be one. Whoever asks for anything more,
//! or begins to log in, has the deadline, which counts from the start of the connection. Who has logged in once and out again
//! has none: pooled connections of old drivers are left so.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    options::Peer,
    session::{End, Session},
};
use crate::{
    audit::{Event, LoginRefusal, Rule},
    command::{Class, Denied, ErrorReply, Local},
};

/// A client that has not logged in yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stranger {
    login_by: Instant,
    /// It has sent nothing that a driver's monitor does not send.
    may_be_monitor: bool,
}

impl Stranger {
    /// One that has just connected.
    pub(super) fn new(login_timeout: Duration) -> Self {
        Self {
            login_by: Instant::now() + login_timeout,
            may_be_monitor: true,
        }
    }

    /// When it must have logged in; `None` as long as it may be a driver's monitor.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.may_be_monitor).then_some(self.login_by)
    }
}

impl Session {
    /// Takes note that the client is logged in as somebody, by which it has no deadline and takes no stranger's place.
    pub(super) fn note_logged_in(&mut self) {
        self.stranger = None;
        self.place.admitted.logged_in();
    }

    /// Takes note that the client is logged in as nobody any more.
    pub(super) fn note_logged_out(&mut self) {
        if self.listener.demands_login {
            self.place.admitted.logged_out();
        }
    }
}

impl Session {
    /// Takes note that the client wants more than to know how the proxy is, so that it must log in in time. A `hello` by which it
    /// begins to log in (`speculativeAuthenticate`) is such a command.
    pub(super) fn note_no_monitor(&mut self) {
        if let Some(stranger) = &mut self.stranger {
            stranger.may_be_monitor = false;
        }
    }

    /// Takes note of a command of a client that has not logged in.
    pub(super) fn note_stranger(&mut self, class: Class) {
        if !matches!(class, Class::Local(Local::Hello | Local::Ping)) {
            self.note_no_monitor();
        }
    }

    /// When the client must have logged in; `None` if it has, need not, or may be a driver's monitor.
    pub(super) fn login_deadline(&self) -> Option<Instant> {
        self.stranger.as_ref()?.deadline()
    }

    /// Ends the session of a client that goes on and on without logging in.
    pub(super) fn still_in_time(&self) -> Result<(), End> {
        match self.login_deadline() {
            Some(deadline) if Instant::now() >= deadline => Err(self.not_logged_in()),
            _ => Ok(()),
        }
    }

    /// The end of a client that did not log in in time.
    pub(super) fn not_logged_in(&self) -> End {
        self.counters().logins_timed_out.one();
        self.shared.audit.report(&Event::LoginRefused {
            origin: self.origin(),
            user: None,
            mechanism: "".into(),
            reason: LoginRefusal::TimedOut,
        });
        End::Login(self.listener.limits().login_timeout)
    }

    /// Whether a rule of the listener denies commands of this name.
    pub(super) fn denies(&self, name: &[u8]) -> bool {
        let policy = self.listener.policy.as_ref();
        policy.is_some_and(|policy| policy.permit(name).is_err())
    }

    /// The client, as the audit log tells of it.
    pub(super) fn origin(&self) -> crate::audit::Origin<'_> {
        origin(self.peer, &self.listener.address)
    }
}

/// Takes note of a command that a rule denies; the answer to it.
pub(super) fn denied(session: &Session, denied: Denied, name: &[u8], database: &[u8]) -> ErrorReply {
    let (rule, says) = match denied {
        Denied::ByName => (Rule::DenyCommands, "[listener] deny_commands"),
        Denied::ReadOnly => (Rule::ReadOnly, "[listener] read_only"),
        Denied::Ambiguous => (
            Rule::Ambiguous,
            "it has [listener] deny_commands or read_only, and a field stands twice or cannot be read",
        ),
    };
    session.counters().commands_denied.one();
    session.shared.audit.report(&Event::CommandDenied {
        origin: session.origin(),
        user: session
            .identity
            .user()
            .map(|user| crate::audit::User::new(&user.name, &user.db)),
        command: name.into(),
        database: database.into(),
        rule,
    });
    ErrorReply::unauthorized(name, database, says)
}

/// A client, as the audit log tells of it.
pub(super) fn origin(peer: Peer, listener: &super::ListenAddress) -> crate::audit::Origin<'_> {
    let address = match peer {
        Peer::Tcp(address) => Some(address),
        Peer::Unix => None,
    };
    crate::audit::Origin { address, listener }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bson::{RawDocument, rawdoc};
    use bytes::BytesMut;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::{Instant, timeout},
    };

    use super::*;
    use crate::{
        client::testing::{demanding_login, judging},
        shutdown::Shutdown,
        wire::{Compressor, RawDoc, op_compressed, op_msg},
    };

    const LIMIT: Duration = Duration::from_millis(150);
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Sends a command and says whether it was answered.
    async fn ask(client: &mut TcpStream, command: &RawDocument) -> bool {
        let mut message = BytesMut::new();
        let body = RawDoc::prefix(command.as_bytes()).unwrap();
        op_msg::encode(body, 1, 0, 0, &mut message);
        client.write_all(&message).await.unwrap();
        matches!(client.read(&mut [0; 4096]).await, Ok(1..))
    }

    #[tokio::test]
    async fn who_does_no_more_than_a_monitor_lives_and_counts_as_a_stranger() {
        let shutdown = Shutdown::new();
        let (mut session, mut client) = demanding_login(LIMIT, &shutdown).await;
        session.note_stranger(Class::Local(Local::Hello));
        let shared = std::sync::Arc::clone(&session.shared);
        let served = tokio::spawn(async move { session.serve().await });
        let started = Instant::now();
        while started.elapsed() < LIMIT * 3 {
            assert!(ask(&mut client, &rawdoc! { "ping": 1, "$db": "admin" }).await);
            tokio::time::sleep(LIMIT / 4).await;
        }
        assert_eq!(shared.admission.strangers(), 1);
        drop(client);
        served.await.unwrap();
        assert_eq!(shared.admission.strangers(), 0);
        shutdown.begin();
    }

    #[tokio::test]
    async fn who_asks_for_more_must_log_in_in_time() {
        for chatty in [false, true] {
            let shutdown = Shutdown::new();
            let (mut session, mut client) = demanding_login(LIMIT, &shutdown).await;
            let shared = std::sync::Arc::clone(&session.shared);
            let served = tokio::spawn(async move { session.serve().await });
            let started = Instant::now();
            let more = rawdoc! { "whatsmyuri": 1, "$db": "admin" };
            assert!(ask(&mut client, &more).await);
            if chatty {
                while ask(&mut client, &more).await {}
            }
            let rest = timeout(PATIENCE, client.read(&mut [0; 64])).await.unwrap();
            assert!(
                !matches!(rest, Ok(1..)) && started.elapsed() >= LIMIT,
                "chatty: {chatty}"
            );
            served.await.unwrap();
            assert_eq!(shared.counters.core(0).logins_timed_out.get(), 1);
            shutdown.begin();
        }
    }

    #[tokio::test]
    async fn a_large_message_is_refused_by_its_size_before_it_has_come() {
        let long = |length: i32, op_code: i32| {
            let header: Vec<u8> = [length, 1, 0, op_code]
                .iter()
                .flat_map(|part| part.to_le_bytes())
                .collect();
            header
        };
        // Some of what was announced, and nothing more comes.
        let mut plain = long(1 << 20, 2013);
        plain.resize(20_000, 0);
        // Whole, and large only when it is inflated: zeros, by zlib.
        let mut body = BytesMut::new();
        let zeros = rawdoc! { "ping": 1, "x": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![0; 1 << 20] } };
        op_msg::encode(RawDoc::prefix(zeros.as_bytes()).unwrap(), 1, 0, 0, &mut body);
        let deflated = op_compressed::deflate(&body, Compressor::Zlib, -1).unwrap();
        assert!(deflated.len() < 16_000, "{}", deflated.len());
        for message in [plain, deflated.to_vec()] {
            let shutdown = Shutdown::new();
            let (mut session, mut client, _node) = judging(BTreeMap::new(), &shutdown).await;
            let shared = std::sync::Arc::clone(&session.shared);
            let served = tokio::spawn(async move { session.serve().await });
            client.write_all(&message).await.unwrap();
            let rest = timeout(LIMIT * 30, client.read(&mut [0; 64])).await.unwrap();
            assert!(!matches!(rest, Ok(1..)));
            served.await.unwrap();
            let counters = shared.counters.core(0);
            assert_eq!(
                (counters.protocol_errors.get(), counters.compressed_requests.get()),
                (1, 0)
            );
            shutdown.begin();
        }
    }

    #[tokio::test]
    async fn who_has_logged_in_once_is_in_no_hurry() {
        let shutdown = Shutdown::new();
        let (mut session, mut client) = demanding_login(LIMIT, &shutdown).await;
        session.note_no_monitor();
        session.note_logged_in();
        assert_eq!(session.shared.admission.strangers(), 0);
        session.note_logged_out();
        assert_eq!(session.shared.admission.strangers(), 1);
        let served = tokio::spawn(async move { session.serve().await });
        let more = rawdoc! { "whatsmyuri": 1, "$db": "admin" };
        assert!(ask(&mut client, &more).await);
        tokio::time::sleep(LIMIT * 2).await;
        assert!(ask(&mut client, &more).await);
        drop(client);
        served.await.unwrap();
        shutdown.begin();
    }
}
