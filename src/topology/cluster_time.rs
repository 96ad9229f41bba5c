//! The cluster's logical time, as nodes gossip it (`$clusterTime`, Driver Sessions and Causal Consistency specifications).
//!
//! It is signed by the nodes and handed on as it came.

use bson::{RawDocument, RawDocumentBuf, Timestamp, raw::cstr};

/// A cluster time, and the time of the operation that it came with.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterTime {
    document: RawDocumentBuf,
    time: Timestamp,
    operation_time: Option<Timestamp>,
}

impl ClusterTime {
    /// What a node's reply says; `None` if it says nothing, as nodes without a replica set do.
    #[must_use]
    pub fn of(reply: &RawDocument) -> Option<Self> {
        let document = reply.get_document("$clusterTime").ok()?;
        Some(Self {
            time: document.get_timestamp("clusterTime").ok()?,
            document: document.to_owned(),
            operation_time: reply.get_timestamp("operationTime").ok(),
        })
    }

    /// Whether this is the later of the two.
    #[must_use]
    pub fn is_after(&self, other: &Self) -> bool {
        (self.time.time, self.time.increment) > (other.time.time, other.time.increment)
    }

    /// Adds both times to a reply, as a node does.
    pub fn append_to(&self, reply: &mut RawDocumentBuf) {
        reply.append(cstr!("$clusterTime"), self.document.clone());
        if let Some(time) = self.operation_time {
            reply.append(cstr!("operationTime"), time);
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn reply(time: u32, increment: u32) -> RawDocumentBuf {
        let stamp = Timestamp { time, increment };
        rawdoc! {
            "ok": 1.0,
            "$clusterTime": { "clusterTime": stamp, "signature": { "keyId": 7_i64 } },
            "operationTime": stamp,
        }
    }

    #[test]
    fn it_is_handed_on_as_it_came() {
        let mut own = rawdoc! { "ok": 1.0 };
        ClusterTime::of(&reply(5, 2)).unwrap().append_to(&mut own);
        assert_eq!(own, reply(5, 2));
    }

    #[test]
    fn the_later_one_is_told_by_both_parts() {
        let times = [(4, 9), (5, 1), (5, 2)].map(|(time, part)| ClusterTime::of(&reply(time, part)).unwrap());
        for (index, time) in times.iter().enumerate() {
            for (other_index, other) in times.iter().enumerate() {
                assert_eq!(time.is_after(other), index > other_index);
            }
        }
    }

    #[test]
    fn nodes_without_a_cluster_have_none() {
        assert_eq!(ClusterTime::of(&rawdoc! { "ok": 1.0 }), None);
        assert_eq!(
            ClusterTime::of(&rawdoc! { "$clusterTime": { "clusterTime": 3 } }),
            None
        );
    }
}
