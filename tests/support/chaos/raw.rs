//! The workloads by raw OP_MSG without any session, as the simplest driver sends them.

use std::{path::PathBuf, time::Duration};

use bson::{Bson, Document, doc};
use tokio::time::sleep;

use super::{BULK, COMMENT, DATABASE, Operation, Workload, now};
use crate::support::raw::{MORE_TO_COME, Raw, body_section, msg};

const PREFERENCES: [&str; 5] = [
    "primary",
    "secondary",
    "secondaryPreferred",
    "nearest",
    "primaryPreferred",
];

/// One client with one connection, which it opens anew when it breaks.
pub(super) struct RawWorker {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) cycle: Vec<Workload>,
    pub(super) pause: Duration,
    /// The file to wait for.
    pub(super) stop: PathBuf,
    pub(super) number: usize,
}

impl RawWorker {
    /// Works until the file appears.
    pub(super) async fn run(mut self) -> Vec<Operation> {
        let mut connection = None;
        let mut done = Vec::new();
        while !self.stop.exists() {
            let workload = self.cycle[self.number % self.cycle.len()];
            let id = format!("{}:{}", self.name, self.number);
            let start = now();
            let ended = self.operate(&mut connection, workload, &id).await;
            if ended.is_err() {
                connection = None;
            }
            let error = ended.unwrap_or_else(|broken| Some(format!("connection: {broken}")));
            done.push(Operation {
                worker: self.name.clone(),
                workload,
                id,
                start,
                end: now(),
                error,
            });
            self.number += 1;
            sleep(self.pause).await;
        }
        done
    }

    /// One operation: `None` if all is well, else what the client was told.
    async fn operate(
        &self,
        connection: &mut Option<Raw>,
        workload: Workload,
        id: &str,
    ) -> std::io::Result<Option<String>> {
        let raw = match connection {
            Some(raw) => raw,
            None => connection.insert(Raw::connect(self.address.clone()).await?),
        };
        let command = self.command(workload, id);
        if workload == Workload::Silent {
            let number = raw.next_id();
            raw.send(&msg(number, MORE_TO_COME, &[body_section(&command)]))
                .await?;
            let seen = raw
                .command(&find("silent", id, doc! { "u": id }, "primary"))
                .await?
                .body;
            let count = seen
                .get_document("cursor")
                .and_then(|cursor| cursor.get_array("firstBatch"));
            return Ok(match count.map(Vec::len) {
                Ok(0) => Some("unseen".to_owned()),
                _ => complaint(workload, &seen),
            });
        }
        Ok(complaint(workload, &raw.command(&command).await?.body))
    }

    fn command(&self, workload: Workload, id: &str) -> Document {
        let once = doc! { "q": { "_id": id }, "u": { "$inc": { "n": 1 } }, "upsert": true };
        let update = |statements: Vec<Document>, w: Bson| {
            doc! {
                "update": workload.name(), "updates": statements, "writeConcern": { "w": w }, "$db": DATABASE,
            }
        };
        let insert = |documents: Vec<Document>, w: Bson| {
            doc! {
                "insert": workload.name(), "documents": documents, "writeConcern": { "w": w }, "$db": DATABASE,
            }
        };
        let majority = || Bson::from("majority");
        match workload {
            Workload::Inc => {
                let mut inc = once;
                inc.insert("q", doc! { "_id": &self.name });
                update(vec![inc], majority())
            }
            Workload::Once => update(vec![once], majority()),
            Workload::W1 => update(vec![once], Bson::from(1)),
            Workload::Push => {
                let page = format!("{}/{}", self.name, self.number / 100);
                let push = doc! { "q": { "_id": page }, "u": { "$push": { "ids": id } }, "upsert": true };
                update(vec![push], majority())
            }
            Workload::Insert => insert(vec![doc! { "u": id }], majority()),
            Workload::Silent => insert(vec![doc! { "u": id }], Bson::from(0)),
            Workload::Modify => doc! {
                "findAndModify": "modify", "query": { "_id": id }, "update": { "$inc": { "n": 1 } }, "upsert": true,
                "new": true, "writeConcern": { "w": "majority" }, "$db": DATABASE,
            },
            // Inserts and updates in turns.
            Workload::Bulk if self.number.is_multiple_of(2) => {
                insert((0..BULK).map(|i| doc! { "op": id, "i": i }).collect(), majority())
            }
            Workload::Bulk => {
                let statement = |i| {
                    doc! {
                        "q": { "_id": format!("{id}/{i}") },
                        "u": { "$inc": { "n": 1 }, "$setOnInsert": { "op": id, "i": i } }, "upsert": true,
                    }
                };
                update((0..BULK).map(statement).collect(), majority())
            }
            Workload::Read => find(
                "seeds",
                id,
                doc! { "_id": 1 },
                PREFERENCES[self.number % PREFERENCES.len()],
            ),
            Workload::Slow => {
                let filter = doc! { "_id": 1, "$where": "sleep(40) || true" };
                find("seeds", id, filter, "secondaryPreferred")
            }
            Workload::Transfer | Workload::Whoami => panic!("{workload} needs a driver"),
        }
    }
}

fn find(collection: &str, id: &str, filter: Document, preference: &str) -> Document {
    doc! {
        "find": collection, "filter": filter, "limit": 1, "singleBatch": true, "comment": format!("{COMMENT}{id}"),
        "$db": DATABASE, "$readPreference": { "mode": preference },
    }
}

/// What is wrong with a reply, if anything is.
fn complaint(workload: Workload, reply: &Document) -> Option<String> {
    let number = |key| match reply.get(key) {
        Some(Bson::Int32(n)) => i64::from(*n),
        Some(Bson::Int64(n)) => *n,
        Some(Bson::Double(n)) => *n as i64,
        _ => -1,
    };
    let is_right = number("ok") == 1
        && !reply.contains_key("writeErrors")
        && !reply.contains_key("writeConcernError")
        // Only what asks for it hears of it.
        && !reply.contains_key("retriedStmtIds")
        && !reply.contains_key("retriedStmtId")
        && match workload {
            Workload::Bulk => number("n") == i64::from(BULK),
            Workload::Modify => reply.get_document("value").is_ok_and(|value| value.get_i32("n").is_ok_and(|n| n == 1)),
            Workload::Read | Workload::Slow => reply
                .get_document("cursor")
                .and_then(|cursor| cursor.get_array("firstBatch"))
                .is_ok_and(|batch| batch.len() == 1),
            Workload::Silent => true,
            _ => number("n") == 1,
        };
    (!is_right).then(|| reply.to_string().chars().take(600).collect())
}
