//! A client as drivers were before there was OP_MSG.

use std::net::SocketAddr;

use bson::Document;
use tokio::io::AsyncReadExt;

use crate::support::raw::{self, OP_GET_MORE, OP_QUERY, OP_REPLY, Raw};

const OP_INSERT: i32 = 2002;

/// One connection.
pub(super) struct OldClient {
    raw: Raw,
}

/// An OP_REPLY.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) cursor: i64,
    pub(super) documents: Vec<Document>,
}

impl OldClient {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self {
            raw: Raw::connect(address.to_string()).await.unwrap(),
        }
    }

    /// Runs a command; without what replica sets add to each reply.
    pub(super) async fn command(&mut self, database: &str, command: Document) -> Document {
        let mut found = self
            .find(&format!("{database}.$cmd"), &command, None, [0, -1])
            .await;
        assert_eq!(found.documents.len(), 1, "{command}: {found:?}");
        let mut reply = found.documents.remove(0);
        for field in ["$clusterTime", "operationTime", "electionId", "opTime"] {
            reply.remove(field);
        }
        reply
    }

    /// Runs a query; `numbers` are how many documents to leave out and how many to return.
    pub(super) async fn find(
        &mut self,
        namespace: &str,
        query: &Document,
        selector: Option<&Document>,
        numbers: [i32; 2],
    ) -> Found {
        let selector = selector.map(|selector| selector.to_vec().unwrap());
        let payload = [
            &0i32.to_le_bytes()[..],
            namespace.as_bytes(),
            &[0],
            &numbers[0].to_le_bytes(),
            &numbers[1].to_le_bytes(),
            &query.to_vec().unwrap(),
            &selector.unwrap_or_default(),
        ];
        self.ask(OP_QUERY, &payload.concat()).await
    }

    /// What comes next of a cursor.
    pub(super) async fn get_more(&mut self, namespace: &str, cursor: i64) -> Found {
        let payload = [
            &0i32.to_le_bytes()[..],
            namespace.as_bytes(),
            &[0],
            &0i32.to_le_bytes(),
            &cursor.to_le_bytes(),
        ];
        self.ask(OP_GET_MORE, &payload.concat()).await
    }

    /// Inserts without an answer.
    pub(super) async fn insert(&mut self, namespace: &str, documents: &[Document]) {
        let documents: Vec<u8> = documents
            .iter()
            .flat_map(|document| document.to_vec().unwrap())
            .collect();
        let payload = [&0i32.to_le_bytes()[..], namespace.as_bytes(), &[0], &documents];
        let id = self.raw.next_id();
        let message = raw::frame(id, OP_INSERT, &payload.concat());
        self.raw.send(&message).await.unwrap();
    }

    async fn ask(&mut self, op_code: i32, payload: &[u8]) -> Found {
        let id = self.raw.next_id();
        self.raw.send(&raw::frame(id, op_code, payload)).await.unwrap();
        let mut head = [0; 36];
        self.raw.stream.read_exact(&mut head).await.unwrap();
        let number = |at: usize| i32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        assert_eq!((number(8), number(12)), (id, OP_REPLY));
        let mut rest = vec![0; number(0) as usize - head.len()];
        self.raw.stream.read_exact(&mut rest).await.unwrap();
        let mut reader = &rest[..];
        let documents: Vec<Document> =
            std::iter::from_fn(|| (!reader.is_empty()).then(|| Document::from_reader(&mut reader).unwrap()))
                .collect();
        assert_eq!(documents.len(), number(32) as usize);
        Found {
            cursor: i64::from_le_bytes(head[20..28].try_into().unwrap()),
            documents,
        }
    }
}
