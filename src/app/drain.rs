//! The stages of a drain, one after the other ([`crate::client::drain`] says what each means).

use std::time::Duration;

use tokio::time::Instant;

use super::Proxy;
use crate::client::{Stage, drain::Options};

/// How long commands in flight may take at the deadline.
const AFTER_DEADLINE: Duration = Duration::from_secs(1);

impl Proxy {
    /// Ends without clients seeing errors, as far as the time allows: when no client is left, or a second after the deadline.
    pub async fn drain(self, options: &Options) {
        let drain = &self.shared.drain;
        let deadline = Instant::now() + options.deadline;
        drain.begin(options.deadline);
        tracing::info!(
            clients = self.shared.admission.count(),
            grace = ?options.grace,
            deadline = ?options.deadline,
            "draining: not ready any more, new clients are still taken"
        );
        tokio::time::sleep(options.grace).await;
        drain.advance(Stage::Closing);
        self.front.close_doors();
        self.front.front.begin();
        tracing::info!(
            clients = self.shared.admission.count(),
            "draining: new clients are refused, idle ones closed"
        );
        let left = deadline.saturating_duration_since(Instant::now());
        let mut done = self.front.front.finished(left / 2).await;
        if !done {
            drain.advance(Stage::Hurrying);
            tracing::info!(
                clients = self.shared.admission.count(),
                tied = drain.tied(),
                "draining: clients that never pause are closed between two commands"
            );
            let left = deadline.saturating_duration_since(Instant::now());
            done = self.front.front.finished(left).await;
        }
        if !done {
            tracing::warn!(
                clients = self.shared.admission.count(),
                tied = drain.tied(),
                "draining: the deadline is over ([drain] deadline)"
            );
        }
        self.stop_within(AFTER_DEADLINE).await;
    }
}
