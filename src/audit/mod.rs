//! The audit log: who logged in, who could not, what was denied, what was done through the admin endpoint; a JSON object a line.
//!
//! Who reports an event never waits: lines go through a bounded queue to a thread that does nothing else, so that a slow disk slows
//! no client down. What finds no place, or cannot be written, is counted, and the log and the audit log itself say so.
//!
//! It is no log of the proxy's health, and the log is none of these: what is here is complete and has a stable form (`docs/access.md`).

mod event;
#[cfg(test)]
mod event_tests;
mod sink;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, watch};

pub use event::{AdminRefusal, Event, LoginRefusal, Name, Origin, Rule, User};
pub use sink::Target;

use sink::Sink;

/// The lines that may wait to be written: some seconds of a storm of logins, and below two megabytes.
const QUEUE: usize = 8192;
/// Most lines that are written at once.
const BATCH: usize = 256;

/// The audit log, or none. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Audit(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    log: ArcSwapOption<Log>,
    counts: Arc<Counts>,
}

/// A target that is open, and the thread that writes to it; both end when this is dropped.
#[derive(Debug)]
pub struct Log {
    queue: mpsc::Sender<Message>,
    /// The writer is to end once the queue is empty.
    closing: Arc<AtomicBool>,
    ended: watch::Receiver<bool>,
}

/// Over all targets that there were.
#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Look whether the file is still there, or whether to end.
    Wake,
}

impl Audit {
    /// No audit log: events go nowhere.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Opens the target and starts the thread that writes to it. It ends with [`Audit::close`], or when the last clone is dropped.
    ///
    /// # Errors
    /// When the file cannot be opened, or the thread not be started.
    pub fn start(target: &Target) -> io::Result<Self> {
        let audit = Self::default();
        audit.switch_to(Some(audit.open(target)?));
        Ok(audit)
    }

    /// Opens another target, for [`Audit::switch_to`].
    ///
    /// # Errors
    /// When the file cannot be opened, or the thread not be started.
    pub fn open(&self, target: &Target) -> io::Result<Log> {
        let sink = Sink::open(target)?;
        let (queue, lines) = mpsc::channel(QUEUE);
        let (ending, ended) = watch::channel(false);
        let closing = Arc::new(AtomicBool::new(false));
        let counts = Arc::clone(&self.0.counts);
        let writer = Writer {
            sink,
            lines,
            closing: Arc::clone(&closing),
            told: counts.lost.load(Relaxed),
            counts,
            is_failing: false,
        };
        thread::Builder::new().name("audit".to_owned()).spawn(move || {
            writer.run();
            ending.send_replace(true);
        })?;
        Ok(Log {
            queue,
            closing,
            ended,
        })
    }

    /// Has later events go to another target, or nowhere. What was reported before is written where it was to go.
    pub fn switch_to(&self, log: Option<Log>) {
        let old = self.0.log.swap(log.map(Arc::new));
        if let Some(old) = old {
            old.end();
        }
    }

    /// Writes an event down, soon; never waits.
    pub fn report(&self, event: &Event<'_>) {
        let log = self.0.log.load();
        let Some(log) = &*log else { return };
        let line = Message::Line(event.line(SystemTime::now()));
        if log.queue.try_send(line).is_err() {
            self.0.counts.lost.fetch_add(1, Relaxed);
        }
    }

    /// Whether events go anywhere, so that it is worth while to gather what they tell.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.log.load().is_some()
    }

    /// Opens the file anew if it was renamed (`SIGHUP`). Each write looks for that, too; this does so at once.
    pub fn reopen(&self) {
        if let Some(log) = &*self.0.log.load() {
            // A full queue means that lines are about to be written.
            let _ = log.queue.try_send(Message::Wake);
        }
    }

    /// The events written so far, and those lost: the queue was full, or they could not be written.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let counts = &self.0.counts;
        (counts.written.load(Relaxed), counts.lost.load(Relaxed))
    }

    /// Writes what waits and ends the thread; says whether that was done within `limit`. Events that are reported later are lost.
    ///
    /// Cancel safe: the thread goes on ending.
    pub async fn close(&self, limit: Duration) -> bool {
        let Some(log) = self.0.log.load_full() else {
            return true;
        };
        log.end();
        let mut ended = log.ended.clone();
        let has_ended = ended.wait_for(|ended| *ended);
        tokio::time::timeout(limit, has_ended).await.is_ok()
    }
}

impl Log {
    /// Has the thread end when it has written what waits.
    fn end(&self) {
        self.closing.store(true, Relaxed);
        // With a full queue the thread is awake anyway.
        let _ = self.queue.try_send(Message::Wake);
    }
}

/// The thread's end of the queue.
struct Writer {
    sink: Sink,
    lines: mpsc::Receiver<Message>,
    counts: Arc<Counts>,
    closing: Arc<AtomicBool>,
    /// How many lost events have been told of.
    told: u64,
    /// The last write failed.
    is_failing: bool,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            if self.closing.load(Relaxed) {
                self.lines.close();
            }
            if self.lines.blocking_recv_many(&mut batch, BATCH) == 0 {
                return;
            }
            self.take(&mut batch);
        }
    }

    fn take(&mut self, batch: &mut Vec<Message>) {
        let mut lines = Vec::new();
        let mut count = 0;
        for message in batch.drain(..) {
            if let Message::Line(line) = message {
                lines.extend_from_slice(&line);
                count += 1;
            }
        }
        let lost = self.counts.lost.load(Relaxed);
        if lost > self.told {
            let since = lost - self.told;
            let time = event::time(SystemTime::now());
            let line = format!("{{\"time\":\"{time}\",\"event\":\"events lost\",\"count\":{since}}}\n");
            lines.extend_from_slice(line.as_bytes());
        }
        let written = if lines.is_empty() {
            self.sink.follow()
        } else {
            self.sink.write(&lines)
        };
        match written {
            Ok(()) => {
                self.counts.written.fetch_add(count, Relaxed);
                if lost > self.told {
                    let since = lost - self.told;
                    tracing::warn!(
                        lost = since,
                        "events are missing from the audit log: it cannot keep up, or could not be written"
                    );
                }
                self.told = lost;
                self.is_failing = false;
            }
            Err(error) => {
                self.counts.lost.fetch_add(count, Relaxed);
                // Once for each time that it begins: events come in storms.
                if !self.is_failing {
                    tracing::error!(%error, "cannot write the audit log; events are being lost");
                }
                self.is_failing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn refused(path: &str) -> Event<'_> {
        Event::AdminRefused {
            address: None,
            path: path.into(),
            reason: AdminRefusal::NoToken,
        }
    }

    fn paths(file: &Path) -> Vec<String> {
        let text = fs::read_to_string(file).unwrap();
        text.lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                value["path"].as_str().unwrap_or("none").to_owned()
            })
            .collect()
    }

    #[tokio::test]
    async fn what_was_reported_is_there_after_closing_and_later_events_are_counted_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit");
        let audit = Audit::start(&Target::File(file.clone())).unwrap();
        let expected: Vec<_> = (0..1000).map(|number| format!("/{number}")).collect();
        expected.iter().for_each(|path| audit.report(&refused(path)));
        assert!(audit.close(Duration::from_secs(10)).await);
        audit.report(&refused("/late"));
        assert_eq!(paths(&file), expected);
        assert_eq!(audit.counts(), (1000, 1));
    }

    #[tokio::test]
    async fn a_file_that_was_renamed_is_made_anew_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (file, old) = (folder.path().join("audit"), folder.path().join("old"));
        let audit = Audit::start(&Target::File(file.clone())).unwrap();
        audit.report(&refused("/one"));
        while audit.counts().0 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fs::rename(&file, &old).unwrap();
        audit.reopen();
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        audit.report(&refused("/two"));
        assert!(audit.close(Duration::from_secs(10)).await);
        assert_eq!(
            (paths(&old), paths(&file)),
            (vec!["/one".into()], vec!["/two".into()])
        );
    }

    #[test]
    fn what_finds_no_place_or_cannot_be_written_is_counted_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sub/audit");
        fs::create_dir(file.parent().unwrap()).unwrap();
        let (queue, lines) = mpsc::channel(2);
        let (audit, closing) = (Audit::off(), Arc::new(AtomicBool::new(false)));
        let (_ending, ended) = watch::channel(false);
        audit.switch_to(Some(Log {
            queue,
            closing: Arc::clone(&closing),
            ended,
        }));
        let mut writer = Writer {
            sink: Sink::open(&Target::File(file.clone())).unwrap(),
            lines,
            counts: Arc::clone(&audit.0.counts),
            closing,
            told: 0,
            is_failing: false,
        };
        for path in ["/one", "/two", "/three"] {
            audit.report(&refused(path));
        }
        assert_eq!(audit.counts(), (0, 1));
        let mut batch = Vec::new();
        writer.lines.blocking_recv_many(&mut batch, 8);
        writer.take(&mut batch);
        assert_eq!(audit.counts(), (2, 1));
        assert_eq!(paths(&file), ["/one", "/two", "none"]);
        // The folder is gone: nothing can be written, and later that is told.
        fs::remove_dir_all(file.parent().unwrap()).unwrap();
        writer.take(&mut vec![Message::Line(b"x\n".to_vec())]);
        assert_eq!(audit.counts(), (2, 2));
        fs::create_dir(file.parent().unwrap()).unwrap();
        writer.take(&mut vec![Message::Wake]);
        assert!(
            fs::read_to_string(&file)
                .unwrap()
                .contains("\"events lost\",\"count\":1")
        );
    }

    #[tokio::test]
    async fn what_comes_after_a_switch_goes_elsewhere_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let audit = Audit::start(&Target::File(one.clone())).unwrap();
        audit.report(&refused("/one"));
        let old = audit.0.log.load_full().unwrap();
        audit.switch_to(Some(audit.open(&Target::File(two.clone())).unwrap()));
        audit.report(&refused("/two"));
        assert!(old.ended.clone().wait_for(|ended| *ended).await.is_ok());
        assert!(audit.close(Duration::from_secs(10)).await);
        assert_eq!(
            (paths(&one), paths(&two)),
            (vec!["/one".into()], vec!["/two".into()])
        );
        assert_eq!(audit.counts(), (2, 0));
        audit.switch_to(None);
        assert!(!audit.is_on() && audit.open(&Target::File(folder.path().join("no/such"))).is_err());
    }

    #[tokio::test]
    async fn without_a_log_nothing_happens() {
        let audit = Audit::off();
        audit.report(&refused("/x"));
        audit.reopen();
        assert!(audit.close(Duration::ZERO).await && !audit.is_on() && audit.counts() == (0, 0));
    }
}
