//! `$cmd.sys.inprog`, `$cmd.sys.killop` and `$cmd.sys.unlock`: queries that were commands, before 3.2 had commands for them.

use bson::{Bson, Document, doc};

use super::whole::is_ok;

/// A pseudo-collection whose queries are commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemCommand {
    /// `$cmd.sys.inprog`: the operations in progress.
    InProgress,
    /// `$cmd.sys.killop`: ends an operation.
    KillOp,
    /// `$cmd.sys.unlock`: ends an `fsync` with `lock`.
    Unlock,
}

impl SystemCommand {
    /// The pseudo-collection of this name.
    #[must_use]
    pub fn of(collection: &str) -> Option<Self> {
        match collection {
            "$cmd.sys.inprog" => Some(Self::InProgress),
            "$cmd.sys.killop" => Some(Self::KillOp),
            "$cmd.sys.unlock" => Some(Self::Unlock),
            _ => None,
        }
    }

    /// The command that a query stands for, or what it is answered at once.
    ///
    /// # Errors
    /// The answer to a query that names no operation to kill.
    pub fn to_command(self, query: &Document) -> Result<Document, Document> {
        let filter = match query.iter().next() {
            Some((name, Bson::Document(nested))) if name == "query" || name == "$query" => nested,
            _ => query,
        };
        match self {
            Self::InProgress => {
                let mut command = doc! { "currentOp": 1, "$db": "admin" };
                let fields = filter.iter().filter(|(field, _)| !is_of_protocol(field));
                command.extend(fields.map(|(field, value)| (field.clone(), value.clone())));
                Ok(command)
            }
            Self::KillOp => match filter.get("op") {
                Some(op) => Ok(doc! { "killOp": 1, "op": op.clone(), "$db": "admin" }),
                None => Err(doc! { "err": "no op number field specified" }),
            },
            Self::Unlock => Ok(doc! { "fsyncUnlock": 1, "$db": "admin" }),
        }
    }

    /// The one document that answers the query, from the command's reply.
    #[must_use]
    pub fn to_answer(self, mut reply: Document) -> Document {
        for field in ["$clusterTime", "operationTime", "codeName", "topologyVersion"] {
            reply.remove(field);
        }
        let ok = is_ok(&reply);
        match self {
            Self::Unlock if ok => doc! { "ok": 1.0, "info": "unlock completed" },
            Self::Unlock => reply,
            Self::InProgress | Self::KillOp if ok => {
                reply.remove("ok");
                reply
            }
            Self::InProgress | Self::KillOp => {
                let message = reply
                    .remove("errmsg")
                    .unwrap_or(Bson::String("failed".to_owned()));
                doc! { "err": message }
            }
        }
    }
}

/// Fields that must not become the command's.
fn is_of_protocol(field: &str) -> bool {
    matches!(
        field,
        "currentOp"
            | "$db"
            | "$readPreference"
            | "lsid"
            | "txnNumber"
            | "autocommit"
            | "startTransaction"
            | "writeConcern"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_commands() {
        use SystemCommand::{InProgress, KillOp, Unlock};
        let table = [
            (InProgress, doc! {}, Ok(doc! {"currentOp": 1, "$db": "admin"})),
            (
                InProgress,
                doc! {"query": {"$all": true, "ns": "d.c", "$db": "x"}},
                Ok(doc! {"currentOp": 1, "$db": "admin", "$all": true, "ns": "d.c"}),
            ),
            (
                InProgress,
                doc! {"query": "x"},
                Ok(doc! {"currentOp": 1, "$db": "admin", "query": "x"}),
            ),
            (
                KillOp,
                doc! {"op": 5},
                Ok(doc! {"killOp": 1, "op": 5, "$db": "admin"}),
            ),
            (KillOp, doc! {}, Err(doc! {"err": "no op number field specified"})),
            (Unlock, doc! {}, Ok(doc! {"fsyncUnlock": 1, "$db": "admin"})),
        ];
        for (kind, query, expected) in table {
            assert_eq!(kind.to_command(&query), expected, "{query}");
        }
        assert_eq!(SystemCommand::of("$cmd.sys.inprog"), Some(InProgress));
        assert_eq!(SystemCommand::of("$cmd.sys.other"), None);
    }

    #[test]
    fn replies_have_their_old_shape() {
        use SystemCommand::{InProgress, KillOp, Unlock};
        let failed = doc! {"ok": 0.0, "errmsg": "no", "code": 13, "codeName": "Unauthorized"};
        let table = [
            (
                InProgress,
                doc! {"inprog": [{"opid": 1}], "ok": 1.0, "operationTime": 1},
                doc! {"inprog": [{"opid": 1}]},
            ),
            (InProgress, failed.clone(), doc! {"err": "no"}),
            (
                KillOp,
                doc! {"info": "attempting to kill op", "ok": 1.0},
                doc! {"info": "attempting to kill op"},
            ),
            (
                Unlock,
                doc! {"info": "x", "lockCount": 0_i64, "ok": 1.0},
                doc! {"ok": 1.0, "info": "unlock completed"},
            ),
            (Unlock, failed, doc! {"ok": 0.0, "errmsg": "no", "code": 13}),
            (KillOp, doc! {}, doc! {"err": "failed"}),
        ];
        for (kind, reply, expected) in table {
            assert_eq!(kind.to_answer(reply.clone()), expected, "{reply}");
        }
    }
}
