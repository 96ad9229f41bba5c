//! The life of `tidegate run`: what each signal does.

use std::{path::Path, pin::pin, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::{
    Error, Proxy, Source, find_nodes, notify,
    reload::Reloader,
    runtime,
    sockets::Sockets,
    upgrade::{Upgrade, take_over as take_over_from},
};
use crate::{
    admin::{ReloadRequest, Reloaded},
    audit::Audit,
    config::Config,
};

/// How long the audit log's last lines may take where all ends at once.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Between two looks at the files of the configuration.
const LOOK: Duration = Duration::from_secs(1);

/// What is said to who asks for a reload meanwhile: he would wait for up to a minute.
const NOT_NOW: &str = "a next process is taking over ([upgrade]): reload again once it serves, or the log says that it does not";

/// Why the proxy ends.
#[derive(PartialEq)]
enum End {
    /// SIGTERM told it to, and clients are let go.
    Drain,
    /// `POST /drain` did.
    Asked,
    /// It was told to, quickly.
    Stop,
    /// The next process serves in its place.
    Given,
}

/// Why the configuration is read again, or may have to be.
enum Prompt {
    Signal,
    Request(ReloadRequest),
    /// It is time to look whether a file has changed.
    Look,
}

/// Runs the proxy until SIGINT, by which it stops, or SIGTERM or `POST /drain`, by which it drains. A further signal ends it at once, but for
/// the first SIGTERM where it drains for another reason.
/// `source` tells what the configuration is when it is reloaded, `take_over` where a process listens that must be taken over; one at
/// `[upgrade] socket` is if there is one.
///
/// # Errors
/// When it cannot start.
pub fn run(config: &Config, source: Source, take_over: Option<&Path>) -> Result<(), Error> {
    let runtime = runtime()?;
    let ended = runtime.block_on(run_here(config, source, take_over));
    // A file that cannot be read to its end must not hold the way down up.
    runtime.shutdown_background();
    ended
}

/// [`run`] on the current runtime.
async fn run_here(config: &Config, source: Source, take_over: Option<&Path>) -> Result<(), Error> {
    let failed = |error| Error::Start("signal handler", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let mut sockets = Sockets::from_environment().map_err(Error::Passed)?;
    let file = source.file();
    // First of all, so that no change of a file is missed.
    let mut reloader = Reloader::new(source, config.clone());
    // A name server that does not answer must not keep the process from ending.
    let found = tokio::select! {
        found = find_nodes(config) => found?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let path = take_over.or(config.upgrade.as_deref());
    let taking = match path {
        Some(path) => take_over_from(path, take_over.is_some(), &mut sockets)?.zip(Some(path)),
        None => None,
    };
    let prepared = Proxy::prepare(&found, sockets)?;
    let (mut proxy, mut upgrade) = match taking {
        None => {
            let upgrade = Upgrade::listen(config.upgrade.as_deref())?;
            (prepared.open()?, upgrade)
        }
        Some((taking, path)) => {
            let opened = tokio::select! {
                opened = prepared.open_in_place_of(taking, path) => opened?,
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
            };
            (opened, Upgrade::listen_after(config.upgrade.as_deref()))
        }
    };
    notify::ready();
    let audit = proxy.shared.audit.clone();
    proxy.shared.drain.take_requests();
    let mut reloads = proxy.reloading.take_requests(file, reloader.hash());
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = loop {
        let settled = !upgrade.is_under_way();
        let prompt = tokio::select! {
            end = told_to_end(&mut interrupt, &mut terminate, &proxy) => break end,
            is_given = upgrade.step(&proxy) => {
                if is_given {
                    tracing::info!("draining: the next process has taken over");
                    break End::Given;
                }
                continue;
            }
            // The next process has the sockets of now: they stay as they are until it has settled what becomes of them.
            Some(()) = hangup.recv(), if settled => Prompt::Signal,
            Some(request) = reloads.recv() => {
                if !settled {
                    let _ = request.send(Reloaded::invalid(vec![NOT_NOW.to_owned()]));
                    continue;
                }
                Prompt::Request(request)
            }
            _ = looks.tick(), if settled => Prompt::Look,
        };
        // Files may lie on a file system that hangs.
        tokio::select! {
            () = follow(prompt, &mut reloader, &proxy) => {}
            end = told_to_end(&mut interrupt, &mut terminate, &proxy) => break end,
        }
    };
    // Whoever asks for a reload from now on is told that there is none.
    drop(reloads);
    let mut options = reloader.running.drain;
    if end == End::Given {
        proxy.give_away();
        // Nobody new comes here any more.
        options.grace = Duration::ZERO;
    } else {
        notify::stopping();
        upgrade.decline();
    }
    let mut going = pin!(async {
        match end {
            End::Stop => proxy.stop().await,
            End::Drain | End::Asked | End::Given => proxy.drain(&options).await,
        }
    });
    let mut has_signal = matches!(end, End::Drain | End::Stop);
    loop {
        tokio::select! {
            () = &mut going => {
                tracing::info!("stopped");
                break;
            }
            _ = interrupt.recv() => {
                at_once("SIGINT", &audit).await;
                break;
            }
            _ = terminate.recv() => {
                if has_signal {
                    at_once("SIGTERM", &audit).await;
                    break;
                }
                // It asks for what is being done: service managers send it to whoever is left.
                tracing::info!("SIGTERM: it drains already");
                has_signal = true;
            }
        }
    }
    Ok(())
}

/// Waits for what ends the process, but for an upgrade. Cancel safe.
async fn told_to_end(interrupt: &mut Signal, terminate: &mut Signal, proxy: &Proxy) -> End {
    tokio::select! {
        _ = interrupt.recv() => {
            tracing::info!("stopping: SIGINT");
            End::Stop
        }
        _ = terminate.recv() => {
            tracing::info!("draining: SIGTERM");
            End::Drain
        }
        () = proxy.shared.drain.asked() => {
            tracing::info!("draining: POST /drain");
            End::Asked
        }
    }
}

/// Reads the configuration again, if there is reason to. Cancelled, it has changed nothing.
async fn follow(prompt: Prompt, reloader: &mut Reloader, proxy: &Proxy) {
    match prompt {
        Prompt::Signal => {
            notify::reloading();
            proxy.reopen_audit();
            proxy.reload_certificates();
            reloader.reload(proxy, "SIGHUP").await;
            notify::ready();
        }
        Prompt::Request(request) => {
            proxy.reload_certificates();
            let reloaded = reloader.reload(proxy, "POST /reload").await;
            // Who asked may be gone.
            let _ = request.send(reloaded);
        }
        Prompt::Look => {
            if reloader.has_changed().await {
                reloader.reload(proxy, "its file has changed").await;
            }
        }
    }
}

/// What is done for a signal in the middle of the way down: what serves clients ends with the process.
async fn at_once(signal: &str, audit: &Audit) {
    tracing::warn!("ended at once: {signal} on the way down");
    audit.close(LAST_LINES).await;
}
