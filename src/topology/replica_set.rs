//! What a member's description changes in a replica set topology.
//!
//! Invariant: after each of these, at most one server is an `RsPrimary`, and no believed primary has an older
//! (election, configuration) than one that was believed before it.
//!
//! Source: "Actions" of the Server Discovery and Monitoring specification.

use std::sync::Arc;

use super::{Address, Change, Event, RemovalReason, ServerDescription, ServerKind, Topology};

/// From this wire version on (MongoDB 6.0) the election is compared before the configuration's version.
const ELECTION_ID_FIRST: i32 = 17;

impl Topology {
    /// A primary defines the set: its members and no others.
    pub(super) fn update_from_primary(&mut self, primary: &ServerDescription, change: &mut Change) {
        if !self.adopt_set_name(primary, change) {
            return self.check_if_has_primary();
        }
        if let Err(error) = self.believe(primary) {
            change.events.push(Event::StalePrimary {
                address: primary.address.clone(),
                error: error.clone(),
            });
            self.forget(&primary.address, error);
            return self.check_if_has_primary();
        }
        self.forget_other_primaries(&primary.address);
        for member in primary.members() {
            self.add(member, change);
        }
        let gone: Vec<Address> = self
            .servers
            .iter()
            .map(|server| &server.address)
            .filter(|address| !primary.members().any(|member| member == *address))
            .cloned()
            .collect();
        for address in gone {
            let reason = match &primary.me {
                Some(me) if address == primary.address => RemovalReason::MeMismatch { me: me.clone() },
                _ => RemovalReason::NotNamedByPrimary,
            };
            self.remove(&address, reason, change);
        }
        self.check_if_has_primary();
    }

    /// Without a primary, what any member names is added; only the member itself can be removed.
    pub(super) fn update_without_primary(&mut self, member: &ServerDescription, change: &mut Change) {
        if !self.adopt_set_name(member, change) {
            return;
        }
        for address in member.members() {
            self.add(address, change);
        }
        self.hint_at_primary(member, change);
        self.remove_if_known_otherwise(member, change);
    }

    /// While a primary is known, a member's word about the set does not count.
    pub(super) fn update_with_primary_from_member(
        &mut self,
        member: &ServerDescription,
        change: &mut Change,
    ) {
        if self.adopt_set_name(member, change) && !self.remove_if_known_otherwise(member, change) {
            self.check_if_has_primary();
            self.hint_at_primary(member, change);
        } else {
            self.check_if_has_primary();
        }
    }

    /// Takes the set name of the first member that tells one; removes a member of another set and says so
    /// by `false`.
    fn adopt_set_name(&mut self, member: &ServerDescription, change: &mut Change) -> bool {
        match &self.set_name {
            None => {
                self.set_name = member.set_name.as_deref().map(Arc::from);
                true
            }
            Some(expected) if member.set_name.as_deref() == Some(expected) => true,
            Some(expected) => {
                let (expected, found) = (expected.clone(), member.set_name.clone());
                let reason = RemovalReason::SetNameMismatch { expected, found };
                self.remove(&member.address, reason, change);
                false
            }
        }
    }

    /// Removes a member whose set knows it by another address, and says whether it did. Servers before
    /// MongoDB 2.2 and some services do not tell their own address; they are kept.
    fn remove_if_known_otherwise(&mut self, member: &ServerDescription, change: &mut Change) -> bool {
        match &member.me {
            Some(me) if *me != member.address => {
                self.remove(
                    &member.address,
                    RemovalReason::MeMismatch { me: me.clone() },
                    change,
                );
                true
            }
            _ => false,
        }
    }

    /// A primary that this member knows and nobody here is worth a look, be there another one: that one may hang, or be cut off,
    /// and not know.
    fn hint_at_primary(&self, member: &ServerDescription, change: &mut Change) {
        if let Some(primary) = &member.primary
            && self
                .get(primary)
                .is_some_and(|server| server.kind == ServerKind::Unknown)
        {
            change.events.push(Event::PossiblePrimary(primary.clone()));
        }
    }

    /// Records the primary's election and configuration, or says why it is stale.
    fn believe(&mut self, primary: &ServerDescription) -> Result<(), String> {
        let (election, version) = (primary.election_id, primary.set_version);
        let known = (self.max_election_id, self.max_set_version);
        if primary.max_wire_version >= ELECTION_ID_FIRST {
            // `None` is less than any value, as the specification wants it.
            if (election, version) < known {
                return Err(self.staleness(primary));
            }
            (self.max_election_id, self.max_set_version) = (election, version);
            return Ok(());
        }
        if let (Some(election), Some(version)) = (election, version) {
            if let (Some(max_election), Some(max_version)) = known
                && (version, election) < (max_version, max_election)
            {
                return Err(self.staleness(primary));
            }
            self.max_election_id = Some(election);
        }
        self.max_set_version = self.max_set_version.max(version);
        Ok(())
    }

    fn staleness(&self, primary: &ServerDescription) -> String {
        let tuple = |election: Option<_>, version: Option<_>| {
            let election = election.map_or("null".to_owned(), |id: bson::oid::ObjectId| id.to_hex());
            let version = version.map_or("null".to_owned(), |version: i32| version.to_string());
            format!("(electionId {election}, setVersion {version})")
        };
        format!(
            "primary marked stale due to electionId/setVersion mismatch, {} is stale compared to {}",
            tuple(primary.election_id, primary.set_version),
            tuple(self.max_election_id, self.max_set_version),
        )
    }

    fn forget_other_primaries(&mut self, newest: &Address) {
        let is_old = |server: &&Arc<ServerDescription>| {
            server.kind == ServerKind::RsPrimary && server.address != *newest
        };
        let old: Vec<Address> = self
            .servers
            .iter()
            .filter(is_old)
            .map(|server| server.address.clone())
            .collect();
        for address in old {
            let error = "primary marked stale due to discovery of newer primary".to_owned();
            self.forget(&address, error);
        }
    }
}
