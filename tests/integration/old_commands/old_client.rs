//! A client that reads and writes on the primary by legacy opcodes.

use std::net::SocketAddr;

use bson::Document;

use crate::support::legacy_client::{
    LegacyClient, OP_GET_MORE, OP_INSERT, OP_QUERY, OpReply, Query, get_more, insert,
};

/// One connection.
pub(super) struct OldClient(LegacyClient);

impl OldClient {
    pub(super) fn connect(address: SocketAddr) -> Self {
        Self(LegacyClient::connect(address).unwrap())
    }

    /// Runs a command; without what replica sets add to each reply.
    pub(super) fn command(&mut self, database: &str, command: Document) -> Document {
        let mut found = self.find(&format!("{database}.$cmd"), &command, None, [0, -1]);
        assert_eq!(found.documents.len(), 1, "{command}: {found:?}");
        let mut reply = found.documents.remove(0);
        for field in ["$clusterTime", "operationTime", "electionId", "opTime"] {
            reply.remove(field);
        }
        reply
    }

    /// Runs a query; `numbers` are how many documents to leave out and how many to return.
    pub(super) fn find(
        &mut self,
        namespace: &str,
        query: &Document,
        fields: Option<&Document>,
        [skip, to_return]: [i32; 2],
    ) -> OpReply {
        let query = Query {
            flags: 0,
            namespace: namespace.to_owned(),
            skip,
            to_return,
            query: query.clone(),
            fields: fields.cloned(),
        };
        self.0.ask(OP_QUERY, &query.payload()).unwrap()
    }

    /// What comes next of a cursor.
    pub(super) fn get_more(&mut self, namespace: &str, cursor: i64) -> OpReply {
        self.0.ask(OP_GET_MORE, &get_more(namespace, 0, cursor)).unwrap()
    }

    /// Inserts without an answer.
    pub(super) fn insert(&mut self, namespace: &str, documents: &[Document]) {
        self.0.send(OP_INSERT, &insert(0, namespace, documents)).unwrap();
    }
}
