//! Cancellation and task tracking: every long-lived task is spawned through [`Shutdown`], and none outlives it unseen.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The one signal to stop, and the count of tasks that have not yet. Clones share both.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A signal that has not been given, without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A part that can be stopped on its own, and stops with the whole.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            tasks: self.tasks.clone(),
        }
    }

    /// Asks all tasks to end.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Whether [`Shutdown::begin`] was called.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits for [`Shutdown::begin`]. Cancel safe.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Runs `task` on the current runtime until it ends or the signal is given, whichever is first.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.tasks.spawn(async move {
            match token.run_until_cancelled_owned(task).await {
                Some(()) => tracing::trace!(task = name, "task ended"),
                None => tracing::trace!(task = name, "task stopped"),
            }
        });
    }

    /// Runs `task` to its own end; it must watch [`Shutdown::requested`] itself.
    pub fn spawn_to_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits until all tasks have ended, for at most `patience`; says whether they did.
    pub async fn finished(&self, patience: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(patience, self.tasks.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_begun_shutdown_stops_tasks_and_children() {
        let shutdown = Shutdown::new();
        let child = shutdown.child();
        child.spawn("waits for ever", std::future::pending());
        assert!(!shutdown.finished(Duration::from_millis(10)).await);
        shutdown.begin();
        assert!(child.has_begun() && shutdown.finished(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_child_stops_alone() {
        let shutdown = Shutdown::new();
        shutdown.child().begin();
        assert!(!shutdown.has_begun());
    }
}
