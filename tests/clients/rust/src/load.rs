//! Load for `benches/relay`: so many tasks, each with one find by `_id` outstanding, over one client of the driver.
//!
//! Usage: load URI TASKS DOCUMENTS WARM_UP_MS WINDOW_MS [PID]. Says `ready` once it is warm, waits for a line, measures, and prints one
//! line of JSON as the benchmark's own load does. CPU time and memory are those of the process PID.

use std::{
    error::Error,
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use mongodb::{
    Client, Collection,
    bson::{Document, doc, oid::ObjectId},
};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const WARM_UP_OPS: usize = 20;
/// Whether what is measured now counts.
const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const OVER: u8 = 2;
/// `USER_HZ` (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Runs the load and prints what it measured.
pub(crate) async fn run(arguments: &[String]) -> Outcome<()> {
    let [uri, numbers @ ..] = arguments else {
        return Err("load needs a URI".into());
    };
    let numbers = numbers.iter().map(|number| number.parse::<u64>());
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
    let [tasks, documents, warm_up, window, watched @ ..] = &numbers[..] else {
        return Err("load needs TASKS DOCUMENTS WARM_UP_MS WINDOW_MS".into());
    };
    let client = Client::with_uri_str(uri).await?;
    let collection: Collection<Document> = client.database("bench").collection("documents");
    let ids: Vec<ObjectId> = (0..*tasks).map(|task| id(task % documents)).collect();
    warm(&collection, &ids).await?;
    println!("ready");
    io::stdin().read_line(&mut String::new())?;
    let phase = Arc::new(AtomicU8::new(WARMING));
    let work = ids
        .into_iter()
        .map(|id| tokio::spawn(find(collection.clone(), id, Arc::clone(&phase))));
    let work: Vec<_> = work.collect();
    tokio::time::sleep(Duration::from_millis(*warm_up)).await;
    let pid = watched.first().copied();
    let cpu = pid.map(cpu_seconds).transpose()?;
    let start = Instant::now();
    phase.store(COUNTING, Relaxed);
    tokio::time::sleep(Duration::from_millis(*window)).await;
    phase.store(OVER, Relaxed);
    let seconds = start.elapsed().as_secs_f64();
    let cpu = pid
        .map(cpu_seconds)
        .transpose()?
        .zip(cpu)
        .map(|(end, start)| end - start);
    let resident = pid.map(resident_kib).transpose()?;
    let mut micros = Vec::new();
    for task in work {
        micros.extend(task.await??);
    }
    micros.sort_unstable();
    println!(
        "{}",
        json!({
            "ops": micros.len(), "seconds": seconds, "p50_us": quantile(&micros, 0.5), "p99_us": quantile(&micros, 0.99),
            "cpu_seconds": cpu, "resident_kib": resident,
        })
    );
    Ok(())
}

/// Opens the driver's connections.
async fn warm(collection: &Collection<Document>, ids: &[ObjectId]) -> Outcome<()> {
    let each = ids.iter().map(|id| {
        let (collection, id) = (collection.clone(), *id);
        tokio::spawn(async move {
            for _ in 0..WARM_UP_OPS {
                find_one(&collection, id).await?;
            }
            Outcome::Ok(())
        })
    });
    for task in each.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(())
}

/// Finds until it is over; how many microseconds each took that counts.
async fn find(collection: Collection<Document>, id: ObjectId, phase: Arc<AtomicU8>) -> Outcome<Vec<u32>> {
    let mut micros = Vec::new();
    loop {
        let start = Instant::now();
        find_one(&collection, id).await?;
        match phase.load(Relaxed) {
            WARMING => {}
            COUNTING => micros.push(start.elapsed().as_micros() as u32),
            _ => return Ok(micros),
        }
    }
}

async fn find_one(collection: &Collection<Document>, id: ObjectId) -> Outcome<()> {
    match collection.find_one(doc! { "_id": id }).await? {
        Some(_) => Ok(()),
        None => Err(format!("there is no document {id}").into()),
    }
}

/// The `_id` of a document as the benchmark numbers them.
fn id(number: u64) -> ObjectId {
    let mut bytes = [0x65, 0x53, 0xf1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[8..].copy_from_slice(&(number as u32).to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn quantile(sorted: &[u32], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted
        .get(index)
        .or(sorted.last())
        .copied()
        .map_or(0.0, f64::from)
}

fn cpu_seconds(pid: u64) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(times.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

fn resident_kib(pid: u64) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no VmRSS")?;
    Ok(kib.parse()?)
}
