//! Who still uses legacy opcodes: so an operator knows which applications need translation.
//!
//! Bounded, because clients choose their names freely, and kept until the process ends, because it is asked when they are gone.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{client::session::Session, wire::OpCode};

/// Most clients that are told apart; all others are counted together.
const MOST: usize = 200;

/// What clients use, a bit for each.
const NAMES: [(OpCode, &str); 6] = [
    (OpCode::Query, "OP_QUERY"),
    (OpCode::GetMore, "OP_GET_MORE"),
    (OpCode::KillCursors, "OP_KILL_CURSORS"),
    (OpCode::Insert, "OP_INSERT"),
    (OpCode::Update, "OP_UPDATE"),
    (OpCode::Delete, "OP_DELETE"),
];

/// Names a kind of client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LegacyClient {
    /// What the application calls itself, if it does.
    pub application: Option<String>,
    /// The driver's name and version, if it tells them: drivers do so since 2016.
    pub driver: Option<(String, String)>,
    /// Where it connects from, if it tells nothing of itself; `None` for those on this host's Unix domain sockets.
    pub address: Option<IpAddr>,
}

/// What was seen of such clients.
#[derive(Debug, Clone)]
pub struct LegacyUse {
    bits: u8,
    /// Connections on which they used legacy opcodes, since the start.
    pub connections: u64,
    /// When one of those connections last used one that it had not used before.
    pub last: Instant,
}

impl LegacyUse {
    /// The opcodes that they used.
    pub fn opcodes(&self) -> impl Iterator<Item = &'static str> + use<> {
        let bits = self.bits;
        let names = NAMES.iter().enumerate();
        names
            .filter(move |(bit, _)| bits & (1 << bit) != 0)
            .map(|(_, (_, name))| *name)
    }
}

/// The clients that use legacy opcodes.
#[derive(Debug, Default)]
pub struct LegacyClients(Mutex<BTreeMap<LegacyClient, LegacyUse>>);

impl LegacyClients {
    /// All that were seen.
    #[must_use]
    pub fn list(&self) -> Vec<(LegacyClient, LegacyUse)> {
        let seen = self.lock();
        seen.iter()
            .map(|(client, used)| (client.clone(), used.clone()))
            .collect()
    }

    /// Takes note of a connection's use; returns whether such a client is new.
    fn note(&self, client: LegacyClient, bit: u8, is_first: bool, now: Instant) -> bool {
        let mut seen = self.lock();
        let is_new = !seen.contains_key(&client);
        let (client, is_new) = if is_new && seen.len() >= MOST {
            (LegacyClient::default(), false)
        } else {
            (client, is_new)
        };
        let used = seen.entry(client).or_insert(LegacyUse {
            bits: 0,
            connections: 0,
            last: now,
        });
        used.bits |= bit;
        used.connections += u64::from(is_first);
        used.last = now;
        is_new
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LegacyClient, LegacyUse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes note that a session's client used this opcode; costs next to nothing once it did.
pub(super) fn note(session: &mut Session, op_code: OpCode) {
    let Some(bit) = NAMES.iter().position(|(known, _)| *known == op_code) else {
        return;
    };
    let state = session.legacy.get_or_insert_default();
    let (before, bit) = (state.used, 1_u8 << bit);
    if before & bit != 0 {
        return;
    }
    state.used |= bit;
    let client = who(session);
    let is_new = session
        .shared
        .legacy_clients
        .note(client.clone(), bit, before == 0, Instant::now());
    if is_new {
        let (driver, version) = client.driver.unwrap_or_default();
        tracing::info!(
            peer = %session.peer,
            application = client.application.unwrap_or_default(),
            driver,
            version,
            treated = if session.listener.translates { "translated" } else { "refused" },
            "a client uses legacy opcodes, which servers have no more"
        );
    }
}

fn who(session: &Session) -> LegacyClient {
    match session.driver.as_deref() {
        Some(described) => {
            let (name, version) = described.driver();
            LegacyClient {
                application: described.application().map(str::to_owned),
                driver: Some((name.to_owned(), version.to_owned())),
                address: None,
            }
        }
        None => LegacyClient {
            address: session.peer.ip(),
            ..LegacyClient::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(application: &str) -> LegacyClient {
        LegacyClient {
            application: Some(application.to_owned()),
            ..LegacyClient::default()
        }
    }

    #[test]
    fn a_client_is_new_once_and_its_opcodes_add_up() {
        let (clients, now) = (LegacyClients::default(), Instant::now());
        assert!(clients.note(named("a"), 1, true, now));
        assert!(!clients.note(named("a"), 8, false, now));
        assert!(!clients.note(named("a"), 1, true, now));
        assert!(clients.note(named("b"), 2, true, now));
        let list = clients.list();
        assert_eq!(list.len(), 2);
        let used: Vec<_> = list[0].1.opcodes().collect();
        assert_eq!((used, list[0].1.connections), (vec!["OP_QUERY", "OP_INSERT"], 2));
    }

    #[test]
    fn clients_beyond_the_bound_are_counted_together() {
        let (clients, now) = (LegacyClients::default(), Instant::now());
        for number in 0..2 * MOST {
            clients.note(named(&format!("{number:04}")), 1, true, now);
        }
        let list = clients.list();
        assert_eq!(list.len(), MOST + 1);
        assert_eq!(list[0].0, LegacyClient::default());
        assert_eq!(list[0].1.connections, MOST as u64);
    }
}
