//! Reloads of the configuration: how somebody asks for one, and what is told of the last.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::status::{Config, Reloads};

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Something took effect, or waits for a restart.
    Applied,
    /// The configuration is the one that runs.
    Unchanged,
    /// It cannot be used, and what runs stays as it was.
    Invalid,
}

/// What a reload came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// How it ended.
    pub result: Outcome,
    /// Keys whose new values are in force; clients that are connected go by them from their next command on.
    pub at_once: Vec<String>,
    /// Keys whose new values hold for clients, logins or connections that come from now on.
    pub for_new_connections: Vec<String>,
    /// Keys whose values differ from those in force until the next start.
    pub wait_for_restart: Vec<String>,
    /// What is wrong, if it cannot be used.
    pub mistakes: Vec<String>,
}

impl Reloaded {
    /// A configuration that cannot be used.
    #[must_use]
    pub fn invalid(mistakes: Vec<String>) -> Self {
        Self {
            result: Outcome::Invalid,
            at_once: Vec::new(),
            for_new_connections: Vec::new(),
            wait_for_restart: Vec::new(),
            mistakes,
        }
    }
}

/// Somebody who waits for a reload.
pub type ReloadRequest = oneshot::Sender<Reloaded>;

/// The reloads of a process.
#[derive(Debug, Default)]
pub struct Reloading {
    requests: Mutex<Option<mpsc::Sender<ReloadRequest>>>,
    told: Mutex<Option<Config>>,
}

impl Reloading {
    /// Whoever receives here has the configuration reloaded; before, nobody would do it. `file` and the digest of its content are told.
    pub fn take_requests(
        &self,
        file: Option<PathBuf>,
        hash: Option<String>,
    ) -> mpsc::Receiver<ReloadRequest> {
        let (requests, received) = mpsc::channel(16);
        *lock(&self.requests) = Some(requests);
        *lock(&self.told) = Some(Config {
            file: file.map(|file| file.display().to_string()),
            hash,
            loaded_at: now(),
            loaded_at_seconds: seconds(),
            last_reload_succeeded: true,
            last_reload_at: None,
            mistakes: Vec::new(),
            wait_for_restart: Vec::new(),
            reloads: Reloads::default(),
        });
        received
    }

    /// Takes note of a reload of a file with this digest.
    pub fn note(&self, reloaded: &Reloaded, hash: Option<String>) {
        let mut told = lock(&self.told);
        let Some(config) = &mut *told else { return };
        config.last_reload_at = Some(now());
        config.mistakes.clone_from(&reloaded.mistakes);
        config.last_reload_succeeded = reloaded.result != Outcome::Invalid;
        match reloaded.result {
            Outcome::Applied => config.reloads.applied += 1,
            Outcome::Unchanged => config.reloads.unchanged += 1,
            Outcome::Invalid => config.reloads.invalid += 1,
        }
        if config.last_reload_succeeded {
            config.hash = hash;
            config.loaded_at = now();
            config.loaded_at_seconds = seconds();
            config.wait_for_restart.clone_from(&reloaded.wait_for_restart);
        }
    }

    /// Has the configuration reloaded; `None` if nobody here would do it.
    pub(super) async fn ask(&self) -> Option<Reloaded> {
        let requests = lock(&self.requests).clone()?;
        let (request, answer) = oneshot::channel();
        requests.send(request).await.ok()?;
        answer.await.ok()
    }

    /// What is told of it; `None` where there is nothing to reload.
    pub(super) fn observe(&self) -> Option<Config> {
        lock(&self.told).clone()
    }
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

fn seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reloaded(result: Outcome) -> Reloaded {
        Reloaded {
            result,
            wait_for_restart: vec!["log.format".to_owned()],
            ..Reloaded::invalid(Vec::new())
        }
    }

    #[tokio::test]
    async fn whoever_asks_is_told_what_it_came_to_and_nobody_waits_in_vain() {
        let reloading = Reloading::default();
        assert_eq!((reloading.ask().await, reloading.observe()), (None, None));
        let mut requests = reloading.take_requests(None, None);
        let serve = async { requests.recv().await.unwrap().send(reloaded(Outcome::Unchanged)) };
        let (asked, _) = tokio::join!(reloading.ask(), serve);
        assert_eq!(asked, Some(reloaded(Outcome::Unchanged)));
        drop(requests);
        assert_eq!(reloading.ask().await, None);
    }

    #[test]
    fn a_reload_that_failed_leaves_what_is_told_of_the_one_before() {
        let reloading = Reloading::default();
        drop(reloading.take_requests(Some("a.toml".into()), Some("1".to_owned())));
        reloading.note(&reloaded(Outcome::Applied), Some("2".to_owned()));
        let invalid = Reloaded::invalid(vec!["a.toml:1: wrong".to_owned()]);
        reloading.note(&invalid, Some("3".to_owned()));
        let told = reloading.observe().unwrap();
        assert_eq!(told.hash.as_deref(), Some("2"));
        assert_eq!(told.wait_for_restart, ["log.format"]);
        assert_eq!(
            (told.last_reload_succeeded, told.mistakes),
            (false, invalid.mistakes)
        );
        assert_eq!((told.reloads.applied, told.reloads.invalid), (1, 1));
        reloading.note(&reloaded(Outcome::Unchanged), Some("2".to_owned()));
        let told = reloading.observe().unwrap();
        assert!(told.last_reload_succeeded && told.mistakes.is_empty());
    }
}
