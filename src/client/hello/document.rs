//! The `hello` document: one function, fed with what is to be shown. It knows no session and no cluster.
//!
//! Sources: what a `mongod` and a `mongos` answer, the Server Discovery and Monitoring specification for what drivers make of it, and
//! the Load Balancers specification for `serviceId`.

use bson::{DateTime, RawArrayBuf, RawDocumentBuf, oid::ObjectId, raw::CString, raw::cstr};

use super::fields::Fields;
use crate::{
    client::compression::Compressors,
    topology::{Common, LastWrite, TopologyVersion},
    wire::MAX_MESSAGE_LEN,
};

/// Bytes that a request may grow by on its way: a message of the full size could not take a splice.
const SPLICE_ROOM: i32 = 16 << 10;

/// What the reply makes of the proxy.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Role {
    /// A `mongos`; behind what the client takes for a load balancer with the name of this process.
    #[default]
    Mongos,
    /// A `mongos` behind what the client takes for a load balancer: the name of this process.
    Service(ObjectId),
    /// A `mongod` of no replica set.
    Standalone,
    /// A `mongod` that waits to become a member of a replica set.
    Ghost,
    /// A member of a replica set.
    Member(Member),
}

/// A member of a replica set, as it is shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Member {
    pub(super) set_name: String,
    pub(super) set_version: Option<i32>,
    pub(super) hosts: Vec<String>,
    pub(super) me: String,
    pub(super) primary: Option<String>,
    pub(super) is_primary: bool,
    pub(super) is_secondary: bool,
    pub(super) is_arbiter: bool,
    pub(super) is_hidden: bool,
    pub(super) is_passive: bool,
    pub(super) delay_secs: Option<i64>,
    pub(super) tags: Vec<(String, String)>,
    pub(super) election_id: Option<ObjectId>,
    pub(super) last_write: Option<LastWrite>,
}

/// What is shown beside the role.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) common: Common,
    pub(super) version: Option<TopologyVersion>,
    pub(super) connection_id: i32,
    pub(super) compressors: Compressors,
    pub(super) now: DateTime,
}

/// The reply.
pub(super) fn document(fields: &Fields, role: &Role, terms: &Terms) -> RawDocumentBuf {
    let mut hello = RawDocumentBuf::new();
    if fields.hello_ok {
        hello.append(cstr!("helloOk"), true);
    }
    if let Some(version) = &terms.version {
        hello.append(cstr!("topologyVersion"), version.to_document());
    }
    let is_writable = match role {
        Role::Mongos | Role::Service(_) | Role::Standalone => true,
        Role::Ghost => false,
        Role::Member(member) => member.is_primary,
    };
    let writable = if fields.is_hello {
        cstr!("isWritablePrimary")
    } else {
        cstr!("ismaster")
    };
    match role {
        Role::Member(member) => {
            member.append_set(&mut hello);
            hello.append(writable, is_writable);
            member.append_state(&mut hello);
        }
        _ => hello.append(writable, is_writable),
    }
    match role {
        Role::Mongos => hello.append(cstr!("msg"), "isdbgrid"),
        Role::Service(id) => {
            hello.append(cstr!("msg"), "isdbgrid");
            hello.append(cstr!("serviceId"), *id);
        }
        Role::Ghost => hello.append(cstr!("isreplicaset"), true),
        Role::Standalone | Role::Member(_) => {}
    }
    append_terms(&mut hello, terms);
    hello
}

fn append_terms(hello: &mut RawDocumentBuf, terms: &Terms) {
    let limits = terms.common.limits;
    hello.append(cstr!("maxBsonObjectSize"), limits.max_bson_object_size);
    let largest = limits.max_message_size_bytes.min(MAX_MESSAGE_LEN as i32) - SPLICE_ROOM;
    hello.append(cstr!("maxMessageSizeBytes"), largest);
    hello.append(cstr!("maxWriteBatchSize"), limits.max_write_batch_size);
    hello.append(cstr!("localTime"), terms.now);
    if let Some(minutes) = terms.common.session_timeout_minutes {
        hello.append(cstr!("logicalSessionTimeoutMinutes"), minutes);
    }
    hello.append(cstr!("connectionId"), terms.connection_id);
    hello.append(cstr!("maxWireVersion"), terms.common.max_wire_version);
    hello.append(cstr!("minWireVersion"), 0);
    hello.append(cstr!("readOnly"), false);
    terms.compressors.append_to(hello);
    hello.append(cstr!("ok"), 1.0);
}

impl Member {
    fn append_set(&self, hello: &mut RawDocumentBuf) {
        let mut hosts = RawArrayBuf::new();
        for host in &self.hosts {
            hosts.push(host.as_str());
        }
        hello.append(cstr!("hosts"), hosts);
        hello.append(cstr!("setName"), self.set_name.as_str());
        if let Some(version) = self.set_version {
            hello.append(cstr!("setVersion"), version);
        }
    }

    fn append_state(&self, hello: &mut RawDocumentBuf) {
        hello.append(cstr!("secondary"), self.is_secondary);
        if let Some(primary) = &self.primary {
            hello.append(cstr!("primary"), primary.as_str());
        }
        for (name, holds) in [
            (cstr!("arbiterOnly"), self.is_arbiter),
            (cstr!("passive"), self.is_passive),
            (cstr!("hidden"), self.is_hidden),
        ] {
            if holds {
                hello.append(name, true);
            }
        }
        if let Some(delay) = self.delay_secs {
            hello.append(cstr!("secondaryDelaySecs"), delay);
        }
        if !self.tags.is_empty() {
            let mut tags = RawDocumentBuf::new();
            for (name, value) in &self.tags {
                // They came as BSON, which cannot carry a NUL in a name.
                if let Ok(name) = CString::try_from(name.as_str()) {
                    tags.append(&name, value.as_str());
                }
            }
            hello.append(cstr!("tags"), tags);
        }
        hello.append(cstr!("me"), self.me.as_str());
        if let Some(election) = self.election_id.filter(|_| self.is_primary) {
            hello.append(cstr!("electionId"), election);
        }
        if let Some(write) = self.last_write {
            let mut last = RawDocumentBuf::new();
            if let Some(at) = write.op_time {
                let mut op_time = RawDocumentBuf::new();
                op_time.append(cstr!("ts"), at.timestamp);
                op_time.append(cstr!("t"), at.term);
                last.append(cstr!("opTime"), op_time);
            }
            last.append(cstr!("lastWriteDate"), DateTime::from_millis(write.date));
            hello.append(cstr!("lastWrite"), last);
        }
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
