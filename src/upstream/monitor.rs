//! Watching one node: a connection that nothing else uses, on which the node itself says when its state changes.
//!
//! A server since 4.4 streams its answers to one `hello` (Server Discovery and Monitoring specification, "streaming
//! protocol"); older ones are asked at each heartbeat. A check that was asked for drops the stream and connects anew, because only a
//! new answer proves that the node is there.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

use super::{
    Options,
    connect::{Opened, connect, hello_document},
    connection::Connection,
    failure::{Failure, Reason},
};
use crate::{
    topology::{Address, ClusterTime, RttAverage, ServerDescription, TopologyVersion},
    wire::op_msg,
};

/// The shortest pause between two checks of one node (`minHeartbeatFrequencyMS` of the specification).
pub(super) const MIN_HEARTBEAT: Duration = Duration::from_millis(500);
/// The longest pause between two attempts to reach a node that is down.
const MAX_RETRY: Duration = Duration::from_secs(5);

/// What a monitor shares with the cluster.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) address: Address,
    /// Asks for a check at once.
    pub(super) check_now: Notify,
    rtt: Mutex<RttAverage>,
}

impl Watch {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            check_now: Notify::new(),
            rtt: Mutex::new(RttAverage::new()),
        }
    }

    fn average(&self) -> Option<Duration> {
        self.rtt.lock().unwrap_or_else(PoisonError::into_inner).average()
    }

    fn record(&self, sample: Duration) {
        self.rtt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .record(sample);
    }

    fn reset(&self) {
        self.rtt.lock().unwrap_or_else(PoisonError::into_inner).reset();
    }
}

/// What was seen of a node.
#[derive(Debug)]
pub(super) struct Observation {
    pub(super) description: ServerDescription,
    pub(super) from: Source,
    pub(super) cluster_time: Option<ClusterTime>,
}

/// Who saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The node's monitor, to which the node spoke, or which was told that it is not there.
    Monitor,
    /// The node's monitor, which waited in vain.
    Silence,
    /// A command, by the error that it got.
    Command,
}

/// Watches a node until the receiver of observations is gone.
pub(super) async fn run(watch: Arc<Watch>, options: Arc<Options>, observed: mpsc::Sender<Observation>) {
    let (mut retry, mut told) = (MIN_HEARTBEAT, false);
    loop {
        let started = Instant::now();
        let mut was_reached = false;
        let failure = match check_and_stream(&watch, &options, &observed, &mut was_reached).await {
            Ok(Ended::CheckAsked) => {
                pause_since(started).await;
                continue;
            }
            Ok(Ended::NobodyListens) => return,
            Err(failure) => failure,
        };
        // That a node was lost is told as an event; that one never answered is told here, once.
        if was_reached || told {
            tracing::debug!(node = %watch.address, error = %failure, "check failed");
        } else {
            tracing::warn!(node = %watch.address, "no answer yet: {failure}");
        }
        told = true;
        watch.reset();
        let description = ServerDescription::unknown(watch.address.clone(), Some(failure.to_string()));
        let from = if failure.is_silence() {
            Source::Silence
        } else {
            Source::Monitor
        };
        let observation = Observation {
            description,
            from,
            cluster_time: None,
        };
        if observed.send(observation).await.is_err() {
            return;
        }
        // A node that was there a moment ago is asked again at once: most likely only the connection broke.
        retry = if was_reached {
            MIN_HEARTBEAT
        } else {
            (retry * 2)
                .min(MAX_RETRY)
                .min(options.heartbeat.max(MIN_HEARTBEAT))
        };
        if !was_reached {
            let _ = timeout(retry, watch.check_now.notified()).await;
        }
        pause_since(started).await;
    }
}

enum Ended {
    CheckAsked,
    NobodyListens,
}

/// Keeps checks of one node [`MIN_HEARTBEAT`] apart.
async fn pause_since(started: Instant) {
    sleep(MIN_HEARTBEAT.saturating_sub(started.elapsed())).await;
}

async fn check_and_stream(
    watch: &Watch,
    options: &Options,
    observed: &mpsc::Sender<Observation>,
    was_reached: &mut bool,
) -> Result<Ended, Failure> {
    let opened = connect(&watch.address, options).await?;
    watch.record(opened.round_trip);
    let (mut connection, mut reply) = (opened.connection, opened.hello);
    let mut streaming = false;
    loop {
        let description =
            ServerDescription::from_hello(watch.address.clone(), &reply, Instant::now(), watch.average());
        let version = description.topology_version;
        let hello_ok = description.hello_ok;
        *was_reached = true;
        if observed
            .send(Observation {
                description,
                from: Source::Monitor,
                cluster_time: ClusterTime::of(&reply),
            })
            .await
            .is_err()
        {
            return Ok(Ended::NobodyListens);
        }
        let next = next_reply(
            &mut connection,
            version.as_ref(),
            hello_ok,
            &mut streaming,
            watch,
            options,
        );
        reply = tokio::select! {
            next = next => next?,
            () = watch.check_now.notified() => return Ok(Ended::CheckAsked),
        };
    }
}

async fn next_reply(
    connection: &mut Connection,
    version: Option<&TopologyVersion>,
    hello_ok: bool,
    streaming: &mut bool,
    watch: &Watch,
    options: &Options,
) -> Result<bson::RawDocumentBuf, Failure> {
    let late = |limit| move |_| Failure::maybe_sent(Reason::ReplyTimeout(limit));
    if let Some(version) = version {
        if connection.is_clean() {
            let hello = hello_document(hello_ok, Some((version, options.heartbeat)));
            connection.start(&hello, op_msg::EXHAUST_ALLOWED).await?;
            *streaming = true;
        }
        let limit = options.heartbeat + options.connect_timeout;
        return timeout(limit, connection.next()).await.map_err(late(limit))?;
    }
    sleep(options.heartbeat).await;
    let asked = Instant::now();
    let hello = hello_document(hello_ok, None);
    let reply = timeout(options.connect_timeout, connection.run(&hello))
        .await
        .map_err(late(options.connect_timeout))??;
    watch.record(asked.elapsed());
    Ok(reply)
}

/// Measures round trips on a connection of their own, as streamed answers carry no timing.
pub(super) async fn measure_round_trips(watch: Arc<Watch>, options: Arc<Options>) {
    loop {
        if let Err(failure) = measure(&watch, &options).await {
            tracing::trace!(node = %watch.address, error = %failure, "round trip not measured");
        }
        sleep(options.heartbeat.min(MAX_RETRY)).await;
    }
}

async fn measure(watch: &Watch, options: &Options) -> Result<(), Failure> {
    let Opened {
        mut connection,
        hello: reply,
        ..
    } = connect(&watch.address, options).await?;
    let hello = hello_document(reply.get_bool("helloOk").unwrap_or(false), None);
    loop {
        let asked = Instant::now();
        let limit = options.connect_timeout;
        timeout(limit, connection.run(&hello))
            .await
            .map_err(|_| Failure::maybe_sent(Reason::ReplyTimeout(limit)))??;
        watch.record(asked.elapsed());
        sleep(options.heartbeat).await;
    }
}
