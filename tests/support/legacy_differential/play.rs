//! One sequence against one server: what it answers, and what is in the database afterwards.

use std::{io, net::SocketAddr};

use bson::{Document, doc};

use super::steps::{Collection, Step, Which};
use crate::support::legacy_client::{
    self as legacy, EXHAUST, LegacyClient, OP_DELETE, OP_GET_MORE, OP_INSERT, OP_KILL_CURSORS, OP_QUERY,
    OP_UPDATE, OpReply, Query,
};

/// No server gave this out.
const UNKNOWN_CURSOR: i64 = 0x0123_4567;
/// A chain of replies of these small collections is not longer.
const LONGEST_CHAIN: usize = 50;

/// What came after a step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Nothing was waited for.
    Silence,
    /// One, but of exhaust cursors.
    Replies(Vec<Told>),
    Closed,
}

/// An OP_REPLY without what names this one exchange.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) flags: i32,
    /// Whether there is more, by a cursor id.
    pub(crate) goes_on: bool,
    pub(crate) starting_from: i32,
    pub(crate) documents: Vec<Document>,
}

/// Plays the steps against `address` in the database `db`, which is made anew.
///
/// The answers end with the step at which the connection was closed. Behind them come the contents of the collections.
pub(crate) fn play(address: SocketAddr, db: &str, steps: &[Step]) -> io::Result<Vec<Answer>> {
    let mut player = Player {
        client: LegacyClient::connect(address)?,
        db,
        cursors: Vec::new(),
    };
    player.prepare(steps)?;
    // What was done so far is not to be seen in the last error.
    player.client = LegacyClient::connect(address)?;
    let mut answers = Vec::new();
    for step in steps {
        let answer = player.step(step)?;
        let closed = answer == Answer::Closed;
        answers.push(answer);
        if closed {
            player.client = LegacyClient::connect(address)?;
            break;
        }
    }
    player.kill_all()?;
    for collection in [
        Collection::Plain,
        Collection::Small,
        Collection::Capped,
        Collection::Missing,
    ] {
        answers.push(player.step(&everything(collection))?);
    }
    Ok(answers)
}

/// In the order in which they were written.
fn everything(collection: Collection) -> Step {
    Step::Query {
        collection,
        flags: 0,
        skip: 0,
        to_return: 1000,
        query: doc! {"$query": {}, "$orderby": {"$natural": 1}},
        fields: None,
    }
}

struct Player<'a> {
    client: LegacyClient,
    db: &'a str,
    /// Those of the queries so far; 0 where all came at once.
    cursors: Vec<i64>,
}

impl Player<'_> {
    fn prepare(&mut self, steps: &[Step]) -> io::Result<()> {
        let plain: Vec<Document> = (0..9)
            .map(|n| doc! {"_id": n, "x": n % 3, "y": format!("s{n}"), "a": [n, n + 1]})
            .collect();
        self.command(doc! {"delete": "plain", "deletes": [{"q": {}, "limit": 0}]})?;
        self.command(doc! {"createIndexes": "plain", "indexes": [{"key": {"x": 1}, "name": "x_1"}]})?;
        self.command(doc! {"insert": "plain", "documents": plain})?;
        self.command(doc! {"delete": "small", "deletes": [{"q": {}, "limit": 0}]})?;
        self.command(doc! {"insert": "small", "documents": [{"_id": 1, "x": 1}]})?;
        let meets = |collection| steps.iter().any(|step| step.collection() == Some(collection));
        if meets(Collection::Missing) {
            self.drop(Collection::Missing)?;
        }
        for (collection, documents) in [(Collection::Capped, 3), (Collection::EmptyCapped, 0)] {
            if !meets(collection) {
                continue;
            }
            self.drop(collection)?;
            self.command(doc! {"create": collection.name(), "capped": true, "size": 4096})?;
            for n in 0..documents {
                let document = doc! {"_id": n, "x": n, "pad": "p".repeat(20)};
                self.command(doc! {"insert": collection.name(), "documents": [document]})?;
            }
        }
        Ok(())
    }

    fn drop(&mut self, collection: Collection) -> io::Result<()> {
        // It may not exist.
        self.client
            .command(self.db, doc! {"drop": collection.name()})
            .map(drop)
    }

    fn command(&mut self, command: Document) -> io::Result<()> {
        let reply = self.client.command(self.db, command.clone())?;
        if reply.get_f64("ok").is_ok_and(|ok| ok == 1.0) && !reply.contains_key("writeErrors") {
            return Ok(());
        }
        Err(io::Error::other(format!("{command} failed: {reply}")))
    }

    fn step(&mut self, step: &Step) -> io::Result<Answer> {
        match self.try_step(step) {
            Err(error) if legacy::is_closed(&error) => Ok(Answer::Closed),
            other => other,
        }
    }

    fn try_step(&mut self, step: &Step) -> io::Result<Answer> {
        let name = |collection: Collection| format!("{}.{}", self.db, collection.name());
        match step {
            Step::Insert {
                collection,
                flags,
                documents,
            } => self.say(OP_INSERT, &legacy::insert(*flags, &name(*collection), documents)),
            Step::Update {
                collection,
                flags,
                selector,
                update,
            } => {
                let payload = legacy::update(*flags, &name(*collection), selector, update);
                self.say(OP_UPDATE, &payload)
            }
            Step::Delete {
                collection,
                flags,
                selector,
            } => self.say(OP_DELETE, &legacy::delete(*flags, &name(*collection), selector)),
            Step::Query {
                collection,
                flags,
                skip,
                to_return,
                query,
                fields,
            } => self.query(&Query {
                flags: *flags,
                namespace: name(*collection),
                skip: *skip,
                to_return: *to_return,
                query: query.clone(),
                fields: fields.clone(),
            }),
            Step::GetMore {
                collection,
                which,
                to_return,
            } => {
                let payload = legacy::get_more(&name(*collection), *to_return, self.cursor(*which));
                let reply = self.client.ask(OP_GET_MORE, &payload)?;
                Ok(Answer::Replies(vec![told(reply)]))
            }
            Step::KillCursors { which } => {
                let cursors: Vec<i64> = which.iter().map(|which| self.cursor(*which)).collect();
                self.say(
                    OP_KILL_CURSORS,
                    &legacy::kill_cursors(cursors.len() as i32, &cursors),
                )
            }
            Step::Command(command) => {
                let query = Query::command(self.db, command.clone());
                let reply = self.client.ask(OP_QUERY, &query.payload())?;
                Ok(Answer::Replies(vec![told(reply)]))
            }
        }
    }

    fn say(&mut self, op_code: i32, payload: &[u8]) -> io::Result<Answer> {
        self.client.send(op_code, payload)?;
        Ok(Answer::Silence)
    }

    fn query(&mut self, query: &Query) -> io::Result<Answer> {
        let mut reply = self.client.ask(OP_QUERY, &query.payload())?;
        let mut replies = Vec::new();
        while query.flags & EXHAUST != 0 && reply.cursor != 0 {
            let next = self.client.receive()?;
            if next.response_to != reply.request_id || replies.len() == LONGEST_CHAIN {
                let what = format!("after {reply:?} came {next:?}, the chain's {}th", replies.len());
                return Err(io::Error::other(what));
            }
            replies.push(told(std::mem::replace(&mut reply, next)));
        }
        self.cursors.push(reply.cursor);
        replies.push(told(reply));
        Ok(Answer::Replies(replies))
    }

    fn cursor(&self, which: Which) -> i64 {
        match which {
            Which::Opened(back) => {
                let open = self.cursors.iter().rev().filter(|cursor| **cursor != 0);
                open.copied().nth(back).unwrap_or(UNKNOWN_CURSOR)
            }
            Which::Unknown => UNKNOWN_CURSOR,
        }
    }

    /// Cursors that were left open hold what later cases would drop.
    fn kill_all(&mut self) -> io::Result<()> {
        let open: Vec<i64> = self.cursors.drain(..).filter(|cursor| *cursor != 0).collect();
        if open.is_empty() {
            return Ok(());
        }
        let payload = legacy::kill_cursors(open.len() as i32, &open);
        self.client.send(OP_KILL_CURSORS, &payload).map(drop)
    }
}

fn told(reply: OpReply) -> Told {
    Told {
        flags: reply.flags,
        goes_on: reply.cursor != 0,
        starting_from: reply.starting_from,
        documents: reply.documents,
    }
}
