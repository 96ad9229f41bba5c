//! The files of certificates and keys while the proxy runs: looked at again and again, and read when they have changed.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval};

use crate::{config::Config, tls::Reloads};

/// Between two looks at the files. A look costs a system call for each.
const LOOK: Duration = Duration::from_secs(10);
/// How many looks there are between two warnings of certificates that expire.
const LOOKS_A_DAY: u64 = 24 * 60 * 60 / LOOK.as_secs();

/// All files of certificates that the configuration names.
pub(super) fn of(config: &Config) -> Reloads {
    let mut reloads = Reloads::default();
    for listener in &config.listeners {
        if let Some(tls) = &listener.tls {
            reloads.add(format!("listener {}", listener.address), tls.acceptor.clone());
        }
    }
    if let Some(tls) = config.admin.as_ref().and_then(|admin| admin.tls.clone()) {
        reloads.add("admin".to_owned(), tls);
    }
    if let Some(tls) = &config.upstream.tls {
        reloads.add("upstream".to_owned(), tls.clone());
    }
    reloads
}

/// Looks at the files for as long as it runs.
pub(super) async fn watch(certificates: Arc<ArcSwap<Reloads>>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for count in 0_u64.. {
        looks.tick().await;
        let certificates = certificates.load_full();
        let look = move || {
            certificates.look();
            if count.is_multiple_of(LOOKS_A_DAY) {
                certificates.warn_of_expiry();
            }
        };
        // Files may lie on a file system that hangs. It does not panic; should it, the next look comes all the same.
        let _ = tokio::task::spawn_blocking(look).await;
    }
}
