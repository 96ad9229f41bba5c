//! The workloads as the oldest drivers send them: OP_INSERT and OP_UPDATE with `getlasterror` behind, OP_QUERY, and commands by it.

use std::{io, path::PathBuf, thread::sleep, time::Duration};

use bson::{Bson, Document, doc};

use super::{BULK, COMMENT, DATABASE, Operation, Workload, now};
use crate::support::{
    legacy_client::{LegacyClient, OP_INSERT, OP_QUERY, OP_UPDATE, Query, SLAVE_OK, UPSERT, insert, update},
    raw::frame,
};

/// One client with one connection, which it opens anew when it breaks, on a thread of its own.
pub(super) struct LegacyWorker {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) cycle: Vec<Workload>,
    pub(super) pause: Duration,
    /// The file to wait for.
    pub(super) stop: PathBuf,
    pub(super) number: usize,
}

impl LegacyWorker {
    /// Works until the file appears.
    pub(super) fn run(mut self) -> Vec<Operation> {
        let (mut connection, mut done) = (None, Vec::new());
        while !self.stop.exists() {
            let workload = self.cycle[self.number % self.cycle.len()];
            let id = format!("{}:{}", self.name, self.number);
            let start = now();
            let ended = self.operate(&mut connection, workload, &id);
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
            sleep(self.pause);
        }
        done
    }

    /// One operation: `None` if all is well, else what the client was told.
    fn operate(
        &self,
        connection: &mut Option<LegacyClient>,
        workload: Workload,
        id: &str,
    ) -> io::Result<Option<String>> {
        let client = match connection {
            Some(client) => client,
            None => connection.insert(LegacyClient::connect(self.address.parse().unwrap())?),
        };
        let namespace = format!("{DATABASE}.{workload}");
        let once = doc! { "$inc": { "n": 1 } };
        let upsert = |selector: Document, change: &Document| update(UPSERT, &namespace, &selector, change);
        let majority = Bson::from("majority");
        match workload {
            Workload::Inc => {
                let update = upsert(doc! { "_id": &self.name }, &once);
                acknowledged(client, OP_UPDATE, &update, majority, 1)
            }
            Workload::Once => {
                acknowledged(client, OP_UPDATE, &upsert(doc! { "_id": id }, &once), majority, 1)
            }
            Workload::W1 => acknowledged(client, OP_UPDATE, &upsert(doc! { "_id": id }, &once), 1.into(), 1),
            Workload::Push => {
                let page = format!("{}/{}", self.name, self.number / 100);
                let push = doc! { "$push": { "ids": id } };
                acknowledged(
                    client,
                    OP_UPDATE,
                    &upsert(doc! { "_id": page }, &push),
                    majority,
                    1,
                )
            }
            Workload::Insert => {
                let insert = insert(0, &namespace, &[doc! { "u": id }]);
                acknowledged(client, OP_INSERT, &insert, majority, 0)
            }
            Workload::Bulk => {
                let documents: Vec<Document> = (0..BULK).map(|i| doc! { "op": id, "i": i }).collect();
                acknowledged(client, OP_INSERT, &insert(0, &namespace, &documents), majority, 0)
            }
            Workload::Modify => {
                let command = doc! {
                    "findandmodify": "modify", "query": { "_id": id }, "update": once, "upsert": true, "new": true,
                    "writeConcern": { "w": "majority" },
                };
                let reply = client.command(DATABASE, command)?;
                let value = reply.get_document("value");
                let is_right = value.is_ok_and(|value| value.get_i32("n").is_ok_and(|n| n == 1));
                Ok((!is_right).then(|| reply.to_string()))
            }
            Workload::Silent => {
                client.send(OP_INSERT, &insert(0, &namespace, &[doc! { "u": id }]))?;
                let seen = read(client, 0, "silent", doc! { "u": id }, id)?;
                Ok(seen.map(|what| if what == NONE { "unseen".to_owned() } else { what }))
            }
            Workload::Read => {
                let flags = [0, SLAVE_OK][self.number % 2];
                read(client, flags, "seeds", doc! { "_id": 1 }, id)
            }
            Workload::Slow => {
                let filter = doc! { "_id": 1, "$where": "sleep(40) || true" };
                read(client, SLAVE_OK, "seeds", filter, id)
            }
            Workload::Transfer | Workload::Whoami => panic!("{workload} is younger"),
        }
    }
}

/// What a read is told to have come to that found nothing.
const NONE: &str = "the document is not there";

/// A write and the question for its outcome, in one go as drivers send them.
fn acknowledged(
    client: &mut LegacyClient,
    op_code: i32,
    payload: &[u8],
    w: Bson,
    n: i32,
) -> io::Result<Option<String>> {
    const WRITE: i32 = 1_000_001;
    const QUESTION: i32 = 1_000_002;
    let question = Query::command(DATABASE, doc! { "getlasterror": 1, "w": w });
    let both = [
        frame(WRITE, op_code, payload),
        frame(QUESTION, OP_QUERY, &question.payload()),
    ];
    client.send_raw(&both.concat())?;
    let reply = client.receive()?;
    let answer = reply.documents.first().cloned().unwrap_or_default();
    let is_right = reply.response_to == QUESTION
        && answer.get_f64("ok").is_ok_and(|ok| ok == 1.0)
        && answer.get("err") == Some(&Bson::Null)
        && answer.get_i32("n").is_ok_and(|told| told == n);
    Ok((!is_right).then(|| answer.to_string().chars().take(600).collect()))
}

fn read(
    client: &mut LegacyClient,
    flags: i32,
    collection: &str,
    filter: Document,
    id: &str,
) -> io::Result<Option<String>> {
    let query = Query {
        flags,
        namespace: format!("{DATABASE}.{collection}"),
        skip: 0,
        to_return: -1,
        query: doc! { "$query": filter, "$comment": format!("{COMMENT}{id}") },
        fields: None,
    };
    let reply = client.ask(OP_QUERY, &query.payload())?;
    Ok(match reply.documents.first() {
        None => Some(NONE.to_owned()),
        Some(document) if document.contains_key("$err") => Some(document.to_string()),
        Some(_) => None,
    })
}
