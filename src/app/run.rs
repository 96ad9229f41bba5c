//! The life of `tidegate run`: what each signal does.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Error, Proxy, find_nodes, runtime};
use crate::{audit::Audit, config::Config};

/// How long the audit log's last lines may take where all ends at once.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Runs the proxy until SIGINT, by which it stops, or SIGTERM or `POST /drain`, by which it drains. A second signal ends it at once.
///
/// # Errors
/// When it cannot start.
pub fn run(config: &Config) -> Result<(), Error> {
    runtime()?.block_on(async {
        let failed = |error| Error::Start("signal handler", error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        // A name server that does not answer must not keep the process from ending.
        let config = tokio::select! {
            found = find_nodes(config) => found?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        let proxy = Proxy::start(&config)?;
        let audit = proxy.shared.audit.clone();
        proxy.shared.drain.take_requests();
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
                }
            }
        };
        let going = async {
            if drains {
                proxy.drain(&config.drain).await;
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
