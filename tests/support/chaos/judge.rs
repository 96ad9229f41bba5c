//! What clients were told beside what the database holds.

use std::collections::{BTreeMap, HashMap};

use bson::{Bson, Document, doc};
use tidegate::sandbox::ReplicaSet;

use super::{BULK, DATABASE, Inflicted, Operation, Workload};

/// What a finding is that nobody is to blame for.
pub(crate) const ROLLED_BACK: &str = "rolled back";
/// Documents in one answer.
const BATCH: i32 = 50_000;

/// The operations of one client and workload.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) operations: usize,
    /// Failed, for whatever reason.
    pub(crate) errors: usize,
    /// An unacknowledged write that the read after it did not see.
    pub(crate) unseen: usize,
    /// Acknowledged (or unacknowledged by wish), and not there.
    pub(crate) lost: usize,
    /// Of those, how many a rollback explains: a fault with one was near, and the write had asked for no majority.
    pub(crate) rolled_back: usize,
    /// Applied more than once.
    pub(crate) doubled: usize,
}

/// Something that should not be.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) what: &'static str,
    pub(crate) worker: String,
    pub(crate) workload: Workload,
    pub(crate) id: String,
    /// The faults during which it happened.
    pub(crate) faults: String,
    pub(crate) detail: String,
}

impl Finding {
    /// The worker's name without its number.
    pub(crate) fn client(&self) -> &str {
        self.worker
            .rsplit_once('-')
            .map_or(&self.worker, |(client, _)| client)
    }
}

/// What a comparison came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Judged {
    /// By client and workload.
    pub(crate) rows: BTreeMap<(String, Workload), Row>,
    pub(crate) findings: Vec<Finding>,
    /// The sum of all accounts.
    pub(crate) bank: i64,
}

impl Judged {
    /// The sum of all rows of the clients that `which` chooses.
    pub(crate) fn sum(&self, which: impl Fn(&str, Workload) -> bool) -> Row {
        let mut sum = Row::default();
        for ((client, workload), row) in &self.rows {
            if which(client, *workload) {
                sum.operations += row.operations;
                sum.errors += row.errors;
                sum.unseen += row.unseen;
                sum.lost += row.lost;
                sum.rolled_back += row.rolled_back;
                sum.doubled += row.doubled;
            }
        }
        sum
    }
}

/// Compares; all members are at work and all clients have stopped.
///
/// # Errors
/// What failed, if the database cannot be read.
pub(crate) async fn judge(
    set: &ReplicaSet,
    operations: &[Operation],
    faults: &[Inflicted],
) -> Result<Judged, String> {
    let reader = Reader {
        set,
        primary: set.primary().await.map_err(|e| e.to_string())?,
    };
    let mut judged = Judged::default();
    let mut applied = HashMap::new();
    for workload in Workload::ALL.into_iter().filter(|workload| workload.writes()) {
        applied.insert(workload, reader.applied(workload).await?);
    }
    for operation in operations {
        let times = applied
            .get(&operation.workload)
            .and_then(|times| times.get(&operation.id));
        take(&mut judged, operation, times.copied().unwrap_or(0), faults);
    }
    counters(&mut judged, operations, &applied[&Workload::Inc]);
    let accounts = reader.all(doc! { "find": "accounts" }).await?;
    judged.bank = accounts.iter().map(|account| number(account, "n")).sum();
    Ok(judged)
}

fn take(judged: &mut Judged, operation: &Operation, times: i64, faults: &[Inflicted]) {
    let workload = operation.workload;
    let key = (operation.client().to_owned(), workload);
    let row = judged.rows.entry(key).or_default();
    row.operations += 1;
    let near: Vec<&Inflicted> = faults.iter().filter(|fault| is_near(operation, fault)).collect();
    let mut found = Vec::new();
    if operation.is_unseen() {
        row.unseen += 1;
        found.push("unseen");
    } else if !operation.is_acknowledged() {
        row.errors += 1;
        found.push("error");
    }
    // Counters are compared for each worker.
    if workload.writes() && workload != Workload::Inc {
        let was_promised = operation.is_acknowledged() || operation.is_unseen();
        if times == 0 && was_promised {
            row.lost += 1;
            if workload.may_be_rolled_back() && near.iter().any(|fault| fault.class.may_roll_back()) {
                row.rolled_back += 1;
                found.push(ROLLED_BACK);
            } else {
                found.push("lost");
            }
        }
        if times > 1 {
            row.doubled += 1;
            found.push("doubled");
        }
    }
    let names: Vec<&str> = near.iter().map(|fault| fault.class.name()).collect();
    for what in found {
        judged.findings.push(Finding {
            what,
            worker: operation.worker.clone(),
            workload,
            id: operation.id.clone(),
            faults: names.join(", "),
            detail: operation.error.clone().unwrap_or_default(),
        });
    }
}

/// Whether an operation ran during a fault, or so soon before that what it wrote may not have been replicated.
fn is_near(operation: &Operation, fault: &Inflicted) -> bool {
    operation.end > fault.start - 2.0 && operation.start < fault.end
}

/// A counter is at least what was acknowledged, and at most what was tried.
fn counters(judged: &mut Judged, operations: &[Operation], counts: &HashMap<String, i64>) {
    let mut workers: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for operation in operations
        .iter()
        .filter(|operation| operation.workload == Workload::Inc)
    {
        let (tried, acknowledged) = workers.entry(&operation.worker).or_default();
        *tried += 1;
        *acknowledged += i64::from(operation.is_acknowledged());
    }
    for (worker, (tried, acknowledged)) in workers {
        let count = counts.get(worker).copied().unwrap_or(0);
        let client = worker.rsplit_once('-').map_or(worker, |(client, _)| client);
        let row = judged.rows.entry((client.to_owned(), Workload::Inc)).or_default();
        let (lost, doubled) = ((acknowledged - count).max(0), (count - tried).max(0));
        row.lost += lost as usize;
        row.doubled += doubled as usize;
        for (what, times) in [("lost", lost), ("doubled", doubled)] {
            if times > 0 {
                judged.findings.push(Finding {
                    what,
                    worker: worker.to_owned(),
                    workload: Workload::Inc,
                    id: worker.to_owned(),
                    faults: String::new(),
                    detail: format!(
                        "the counter is {count} after {tried} operations, {acknowledged} acknowledged"
                    ),
                });
            }
        }
    }
}

/// Reads past all relays what a majority has.
struct Reader<'a> {
    set: &'a ReplicaSet,
    primary: usize,
}

impl Reader<'_> {
    /// How often each operation was applied, by its id; of counters the count, by worker.
    async fn applied(&self, workload: Workload) -> Result<HashMap<String, i64>, String> {
        let collection = workload.name();
        if workload == Workload::Bulk {
            return self.bulks().await;
        }
        let documents = self.all(doc! { "find": collection }).await?;
        let mut times = HashMap::new();
        let mut add = |id: Option<&Bson>, count: i64| {
            let id = id.and_then(Bson::as_str).unwrap_or_default().to_owned();
            *times.entry(id).or_insert(0) += count;
        };
        for document in &documents {
            match workload {
                Workload::Push => {
                    let ids = document.get_array("ids").map(Vec::as_slice).unwrap_or_default();
                    ids.iter().for_each(|id| add(Some(id), 1));
                }
                Workload::Insert | Workload::Silent => add(document.get("u"), 1),
                _ => add(document.get("_id"), number(document, "n")),
            }
        }
        Ok(times)
    }

    /// A bulk write counts as applied once if each of its writes was.
    async fn bulks(&self) -> Result<HashMap<String, i64>, String> {
        let group = doc! {
            "_id": "$op", "writes": { "$sum": 1 }, "most": { "$max": { "$ifNull": ["$n", 1] } },
        };
        let aggregate = doc! {
            "aggregate": Workload::Bulk.name(), "pipeline": [{ "$group": group }], "allowDiskUse": true,
        };
        let bulks = self.all(aggregate).await?;
        let times = bulks.iter().map(|bulk| {
            let writes = number(bulk, "writes");
            let times = if writes > i64::from(BULK) || number(bulk, "most") > 1 {
                2
            } else {
                i64::from(writes == i64::from(BULK))
            };
            (bulk.get_str("_id").unwrap_or_default().to_owned(), times)
        });
        Ok(times.collect())
    }

    /// All documents of a cursor.
    async fn all(&self, mut command: Document) -> Result<Vec<Document>, String> {
        if command.contains_key("find") {
            command.insert("batchSize", BATCH);
        } else {
            command.insert("cursor", doc! { "batchSize": BATCH });
        }
        command.insert("readConcern", doc! { "level": "majority" });
        let collection = command.values().next().cloned().unwrap_or(Bson::Null);
        let mut documents = Vec::new();
        loop {
            command.insert("$db", DATABASE);
            let reply = self
                .set
                .command(self.primary, command)
                .await
                .map_err(|e| e.to_string())?;
            let cursor = reply.get_document("cursor").map_err(|e| e.to_string())?;
            for batch in ["firstBatch", "nextBatch"] {
                let batch = cursor.get_array(batch).map(Vec::as_slice).unwrap_or_default();
                documents.extend(
                    batch
                        .iter()
                        .filter_map(|document| document.as_document().cloned()),
                );
            }
            let id = number(cursor, "id");
            if id == 0 {
                return Ok(documents);
            }
            command = doc! { "getMore": id, "collection": collection.clone(), "batchSize": BATCH };
        }
    }
}

fn number(document: &Document, key: &str) -> i64 {
    match document.get(key) {
        Some(Bson::Int32(n)) => i64::from(*n),
        Some(Bson::Int64(n)) => *n,
        Some(Bson::Double(n)) => *n as i64,
        _ => 0,
    }
}
