//! The life of `tidegate run`: what each signal does.

use std::time::Duration;

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::{Error, Proxy, Source, find_nodes, reload::Reloader, runtime};
use crate::{audit::Audit, config::Config};

/// How long the audit log's last lines may take where all ends at once.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Between two looks at the files of the configuration.
const LOOK: Duration = Duration::from_secs(1);

/// Runs the proxy until SIGINT, by which it stops, or SIGTERM or `POST /drain`, by which it drains. A second signal ends it at once.
/// `source` tells what the configuration is when it is reloaded.
///
/// # Errors
/// When it cannot start.
pub fn run(config: &Config, source: Source) -> Result<(), Error> {
    runtime()?.block_on(async {
        let failed = |error| Error::Start("signal handler", error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        // A name server that does not answer must not keep the process from ending.
        let found = tokio::select! {
            found = find_nodes(config) => found?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        let file = source.file();
        let mut reloader = Reloader::new(source, config.clone());
        let proxy = Proxy::start(&found)?;
        let audit = proxy.shared.audit.clone();
        proxy.shared.drain.take_requests();
        let mut reloads = proxy.reloading.take_requests(file, reloader.hash());
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let drains = loop {
            tokio::select! {
                _ = interrupt.recv() => {
                    tracing::info!("stopping: SIGINT");
                    break false;
                }
                _ = terminate.recv() => {
                    tracing::info!("draining: SIGTERM");
                    break true;
                }
                () = proxy.shared.drain.asked() => {
                    tracing::info!("draining: POST /drain");
                    break true;
                }
                Some(()) = hangup.recv() => {
                    proxy.reopen_audit();
                    proxy.reload_certificates();
                    reloader.reload(&proxy, "SIGHUP").await;
                }
                Some(request) = reloads.recv() => {
                    proxy.reload_certificates();
                    let reloaded = reloader.reload(&proxy, "POST /reload").await;
                    // Who asked may be gone.
                    let _ = request.send(reloaded);
                }
                _ = looks.tick() => {
                    if reloader.has_changed().await {
                        reloader.reload(&proxy, "its file has changed").await;
                    }
                }
            }
        };
        // Whoever asks for a reload from now on is told that there is none.
        drop(reloads);
        let going = async {
            if drains {
                proxy.drain(&reloader.running.drain).await;
            } else {
                proxy.stop().await;
            }
        };
        tokio::select! {
            () = going => tracing::info!("stopped"),
            _ = interrupt.recv() => at_once("SIGINT", &audit).await,
            _ = terminate.recv() => at_once("SIGTERM", &audit).await,
        }
        Ok(())
    })
}

/// What is done for a signal in the middle of the way down: the threads that serve clients end with the process.
async fn at_once(signal: &str, audit: &Audit) {
    tracing::warn!("ended at once: {signal} again");
    audit.close(LAST_LINES).await;
}
