//! Watching one node: a connection that nothing else uses, on which the node itself says when its state changes.
//!
//! A server since 4.4 streams its answers to one `hello`; older ones are asked at each heartbeat, or sooner if a check is asked for. A
//! node that was there is asked again at once when its connection breaks; one that cannot be reached, from time to time ([`super::pace`])
//! or when a check is asked for; one that refuses, at the next heartbeat or then. Where an exchange broke, the stream proves
//! nothing: it is dropped, and a new connection tells whether the node is there.
//!
//! Source: "Multi-threaded or asynchronous monitoring" and "Streaming protocol" of the Server Monitoring specification.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::timeout,
};

use super::{
    Options,
    connect::{connect, hello_document},
    connection::Connection,
    failure::{Failure, Reason},
    pace::{Haste, retry_after},
    writer::Report,
};
use crate::{
    topology::{Address, ClusterTime, RttAverage, ServerDescription, ServerKind, TopologyVersion},
    wire::op_msg,
};

/// What a monitor shares with the cluster.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) address: Address,
    /// Asks for a check at once, unless one is in progress.
    pub(super) check_now: Notify,
    /// Asks for a check on a new connection, even if one is in progress.
    pub(super) doubt: Notify,
    haste: Arc<Haste>,
    /// Whether the node streams, so that round trips have to be measured apart.
    streams: watch::Sender<bool>,
    rtt: Mutex<RttAverage>,
}

impl Watch {
    pub(super) fn new(address: Address, haste: Arc<Haste>) -> Self {
        Self {
            address,
            haste,
            check_now: Notify::new(),
            doubt: Notify::new(),
            streams: watch::channel(false).0,
            rtt: Mutex::new(RttAverage::new()),
        }
    }

    fn average(&self) -> Option<Duration> {
        self.rtt.lock().unwrap_or_else(PoisonError::into_inner).average()
    }

    pub(super) fn record(&self, sample: Duration) {
        self.rtt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .record(sample);
    }

    fn reset(&self) {
        self.streams.send_replace(false);
        self.rtt.lock().unwrap_or_else(PoisonError::into_inner).reset();
    }

    pub(super) fn streams(&self) -> bool {
        *self.streams.borrow()
    }

    /// Waits until the node streams.
    pub(super) async fn until_streams(&self) {
        // It cannot fail: the sender is here.
        let _ = self.streams.subscribe().wait_for(|streams| *streams).await;
    }
}

/// What a monitor saw of its node.
#[derive(Debug)]
pub(super) struct Observation {
    pub(super) description: ServerDescription,
    /// Whether it waited in vain, so that others may wait too.
    pub(super) silent: bool,
    pub(super) cluster_time: Option<ClusterTime>,
}

/// Watches a node until nobody listens to its reports.
pub(super) async fn run(watch: Arc<Watch>, options: Arc<Options>, reports: mpsc::Sender<Report>) {
    let (mut known, mut told) = (false, false);
    let mut lost = Instant::now();
    loop {
        let mut checked = Instant::now();
        let failure = match check_and_stream(&watch, &options, &reports, (&mut known, &mut checked)).await {
            Ok(Ended::Doubted) => {
                watch.haste.pause_since(checked).await;
                continue;
            }
            Ok(Ended::NobodyListens) => return,
            Err(failure) => failure,
        };
        // That a node was lost is told as an event; that one never answered is told here, once.
        if known || told {
            tracing::debug!(node = %watch.address, error = %failure, "check failed");
        } else {
            tracing::warn!(node = %watch.address, "no answer yet: {failure}");
        }
        told = true;
        watch.reset();
        let observation = Observation {
            description: ServerDescription::unknown(watch.address.clone(), Some(failure.to_string())),
            silent: failure.is_silence(),
            cluster_time: None,
        };
        if reports.send(Report::Check(Box::new(observation))).await.is_err() {
            return;
        }
        let refuses = matches!(failure.reason, Reason::Handshake(_));
        let ended = Instant::now();
        if std::mem::take(&mut known) {
            lost = ended;
            // Most likely only the connection broke.
            if !refuses {
                watch.haste.pause_since(checked).await;
                continue;
            }
        }
        // A node that refuses has said what there is to say.
        let pause = match refuses {
            true => options.heartbeat,
            false => retry_after(lost.elapsed(), options.heartbeat),
        };
        let _ = timeout(pause, watch.check_now.notified()).await;
        watch.haste.pause_since(ended).await;
    }
}

enum Ended {
    Doubted,
    NobodyListens,
}

/// Checks on one connection until it fails. `known` tells whether the last check of the node succeeded, `checked` when it ended.
async fn check_and_stream(
    watch: &Watch,
    options: &Options,
    reports: &mpsc::Sender<Report>,
    (known, checked): (&mut bool, &mut Instant),
) -> Result<Ended, Failure> {
    let opened = connect(&watch.address, options).await?;
    // What was doubted before this connection was made, it has answered.
    let _ = timeout(Duration::ZERO, watch.doubt.notified()).await;
    watch.record(opened.round_trip);
    let (mut connection, mut reply) = (opened.connection, opened.hello);
    loop {
        *checked = Instant::now();
        let description =
            ServerDescription::from_hello(watch.address.clone(), &reply, *checked, watch.average());
        if description.kind == ServerKind::Unknown {
            let error = description.error.unwrap_or_default();
            return Err(Failure::replied(Reason::Handshake(error)));
        }
        *known = true;
        let (version, hello_ok) = (description.topology_version, description.hello_ok);
        let observation = Observation {
            description,
            silent: false,
            cluster_time: ClusterTime::of(&reply),
        };
        if reports.send(Report::Check(Box::new(observation))).await.is_err() {
            return Ok(Ended::NobodyListens);
        }
        watch
            .streams
            .send_if_modified(|streams| std::mem::replace(streams, version.is_some()) != version.is_some());
        let next = async {
            match version {
                Some(version) => streamed(&mut connection, &version, hello_ok, options).await,
                None => polled(&mut connection, hello_ok, watch, options).await,
            }
        };
        reply = tokio::select! {
            next = next => next?,
            () = watch.doubt.notified() => return Ok(Ended::Doubted),
        };
    }
}

/// The next answer of a node that answers when its state changes.
async fn streamed(
    connection: &mut Connection,
    version: &TopologyVersion,
    hello_ok: bool,
    options: &Options,
) -> Result<bson::RawDocumentBuf, Failure> {
    if connection.is_clean() {
        let hello = hello_document(hello_ok, Some((version, options.heartbeat)));
        connection.start(&hello, op_msg::EXHAUST_ALLOWED).await?;
    }
    within(options.heartbeat + options.connect_timeout, connection.next()).await
}

/// The next answer of a node that has to be asked.
async fn polled(
    connection: &mut Connection,
    hello_ok: bool,
    watch: &Watch,
    options: &Options,
) -> Result<bson::RawDocumentBuf, Failure> {
    let ended = Instant::now();
    let _ = timeout(options.heartbeat, watch.check_now.notified()).await;
    watch.haste.pause_since(ended).await;
    let asked = Instant::now();
    let hello = hello_document(hello_ok, None);
    let reply = within(options.connect_timeout, connection.run(&hello)).await?;
    watch.record(asked.elapsed());
    Ok(reply)
}

/// What `exchange` gives, or that it was waited for in vain.
pub(super) async fn within<T>(
    limit: Duration,
    exchange: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = |_| Err(Failure::maybe_sent(Reason::ReplyTimeout(limit)));
    timeout(limit, exchange).await.unwrap_or_else(late)
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
