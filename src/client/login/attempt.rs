//! A client's login, as far as it slows down other logins from its address: from its first message until it has been judged.
//!
//! Invariant: every attempt ends once, when it is dropped at the latest. One whose challenge was never answered counts as failed then: else
//! salts and iterations could be collected as often as somebody likes. Not so when the proxy stops, nor when the challenge came late: a driver
//! with the right password may have given up by then, and would slow itself down with each further attempt, for ever.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::State;
use crate::{
    auth::{Attempts, Throttle},
    client::{Shared, session::Session},
};

/// Logins under way and those that failed lately, over all listeners.
#[derive(Debug)]
pub(in crate::client) struct UnderWay(Mutex<Attempts<Arc<Notify>>>);

impl UnderWay {
    pub(in crate::client) fn new(longest_delay: Duration) -> Self {
        let seed = RandomState::new().hash_one(0);
        let throttle = Throttle::new(longest_delay, seed, now());
        Self(Mutex::new(Attempts::new(throttle)))
    }

    fn lock(&self) -> MutexGuard<'_, Attempts<Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the longest delay.
    pub(in crate::client) fn set_longest_delay(&self, longest: Duration) {
        self.lock().set_longest(longest);
    }

    /// Has so many logins from there fail.
    #[cfg(test)]
    pub(super) fn fail(&self, address: IpAddr, count: usize) {
        for _ in 0..count {
            let mut attempts = self.lock();
            let number = attempts.begin(address, Arc::default()).unwrap();
            attempts.fail(address, number, now());
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// How a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// By the client's fault: perhaps it has guessed at a password.
    Failed,
    /// It has succeeded, or nothing can be said against the client.
    GivenBack,
}

/// A login of a client that has an address.
pub(super) struct Attempt {
    shared: Arc<Shared>,
    address: IpAddr,
    number: u64,
    begun: Instant,
    /// Told when it is to wait less.
    sooner: Arc<Notify>,
    /// The client was told what only its next message answers.
    is_challenged: bool,
    is_slowed: bool,
    /// How it ends when it is dropped, if that is settled.
    ending: Option<Ending>,
}

impl Attempt {
    /// Begins one; `None` for a client on a Unix domain socket, and where no login is slowed.
    fn begin(shared: &Arc<Shared>, address: Option<IpAddr>) -> Option<Self> {
        let (address, sooner) = (address?, Arc::new(Notify::new()));
        let number = shared.attempts.lock().begin(address, Arc::clone(&sooner))?;
        Some(Self {
            shared: Arc::clone(shared),
            address,
            number,
            begun: Instant::now(),
            sooner,
            is_challenged: false,
            is_slowed: false,
            ending: None,
        })
    }

    /// Waits until it may be judged. Cancel safe.
    async fn wait(&mut self, core: usize) {
        loop {
            let attempts = &self.shared.attempts;
            let delay = attempts.lock().delay(self.address, self.number, now());
            let due = self.begun + delay;
            if due <= Instant::now() {
                return;
            }
            if !std::mem::replace(&mut self.is_slowed, true) {
                self.shared.counters.core(core).logins_slowed.one();
            }
            tokio::select! {
                () = sleep_until(due) => {}
                () = self.sooner.notified() => {}
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let abandoned = self.is_challenged && !self.is_slowed && !self.shared.drain.is_closing();
        let ending = self.ending.unwrap_or(if abandoned {
            Ending::Failed
        } else {
            Ending::GivenBack
        });
        let mut attempts = self.shared.attempts.lock();
        match ending {
            Ending::Failed => attempts.fail(self.address, self.number, now()),
            Ending::GivenBack => attempts.give_back(self.address, self.number, |sooner| sooner.notify_one()),
        }
    }
}

impl State {
    /// Drops a conversation that is under way, in favour of another.
    pub(super) fn abandon(&mut self) {
        self.step = None;
        // One that was not answered yet goes on: it is that of the same message.
        self.attempt.take_if(|attempt| attempt.is_challenged);
    }

    /// Gives back what a `hello` began that has led to no challenge.
    pub(super) fn forget_unanswered(&mut self) {
        self.attempt.take_if(|attempt| !attempt.is_challenged);
    }

    /// Takes note that the client was told what to prove its password with.
    pub(super) fn note_challenged(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.is_challenged = true;
        }
    }

    /// The login under way has failed by what the client sent.
    pub(super) fn fail_attempt(&mut self) {
        self.end_attempt(Ending::Failed);
    }

    /// The login under way has succeeded, or its end says nothing of the client.
    pub(super) fn give_attempt_back(&mut self) {
        self.end_attempt(Ending::GivenBack);
    }

    fn end_attempt(&mut self, ending: Ending) {
        if let Some(mut attempt) = self.attempt.take() {
            attempt.ending = Some(ending);
        }
    }
}

impl Session {
    /// Waits for as long as logins from this client's address are slowed at the moment, from the beginning of this one, which it is if
    /// none is under way. Call it before a login's answer is worked out, and whatever that will be, or the time would tell. Cancel safe.
    pub(super) async fn wait_before_login(&mut self) {
        let (shared, address, core) = (Arc::clone(&self.shared), self.peer.ip(), self.core);
        let state = self.login_state();
        if state.attempt.is_none() {
            state.attempt = Attempt::begin(&shared, address);
        }
        if let Some(attempt) = &mut state.attempt {
            attempt.wait(core).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpStream, time::Duration};

    use super::*;
    use crate::{client::testing::demanding_login, shutdown::Shutdown};

    async fn client(shutdown: &Shutdown) -> (Session, TcpStream) {
        demanding_login(Duration::from_secs(60), shutdown).await
    }

    /// Another client of the same proxy and address.
    fn another(session: &Session) -> Option<Attempt> {
        Attempt::begin(&session.shared, session.peer.ip())
    }

    /// How long a login from there would take at least.
    async fn wait_of(session: &Session) -> Duration {
        let started = Instant::now();
        let mut attempt = another(session).unwrap();
        attempt.wait(0).await;
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn failed_logins_slow_down_the_next_ones() {
        let shutdown = Shutdown::new();
        let (mut session, _client) = client(&shutdown).await;
        let started = Instant::now();
        for _ in 0..5 {
            assert!(started.elapsed() < Duration::from_millis(150));
            session.wait_before_login().await;
            session.login_state().fail_attempt();
        }
        assert_eq!(session.counters().logins_slowed.get(), 1);
        assert!(wait_of(&session).await >= Duration::from_millis(200));
        assert_eq!(session.counters().logins_slowed.get(), 2);
        shutdown.begin();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_line_goes_on_when_those_before_have_succeeded() {
        let shutdown = Shutdown::new();
        let (mut session, _client) = client(&shutdown).await;
        session.wait_before_login().await;
        session.login_state().fail_attempt();
        let mut before: Vec<_> = (0..3).map(|_| another(&session).unwrap()).collect();
        let shared = Arc::clone(&session.shared);
        let waiting = tokio::spawn(async move {
            let started = Instant::now();
            session.wait_before_login().await;
            started.elapsed()
        });
        tokio::task::yield_now().await;
        assert_eq!(shared.counters.core(0).logins_slowed.get(), 1);
        before.pop();
        assert!(waiting.await.unwrap().is_zero());
        shutdown.begin();
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_because_it_was_slowed_is_slowed_less_and_less() {
        let shutdown = Shutdown::new();
        let (mut session, _client) = client(&shutdown).await;
        let address = session.peer.ip().unwrap();
        session.shared.attempts.fail(address, 10);
        // Longer than it takes to forget ten failures, each attempt given up for the next.
        for _ in 0..80 {
            session.wait_before_login().await;
            session.login_state().note_challenged();
            session.login = None;
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        // It was five seconds. What is given up without having been slowed still counts.
        assert!(wait_of(&session).await <= Duration::from_millis(200));
        shutdown.begin();
    }

    #[tokio::test(start_paused = true)]
    async fn a_challenge_that_is_not_answered_is_a_failure_unless_the_proxy_stops() {
        let shutdown = Shutdown::new();
        for stops in [false, true] {
            let (session, _client) = client(&shutdown).await;
            let shared = Arc::clone(&session.shared);
            if stops {
                session.shared.drain.advance(crate::client::Stage::Closing);
            }
            let address = session.peer.ip();
            let mut session = Some(session);
            for turn in 0..6 {
                // The connection closes, or another conversation begins; what is not challenged is no failure.
                let mut left = session.take().unwrap();
                left.wait_before_login().await;
                left.login_state().note_challenged();
                left.login_state().abandon();
                left.wait_before_login().await;
                drop(left.login.take());
                left.wait_before_login().await;
                if turn % 2 == 0 {
                    left.login_state().note_challenged();
                    left.login = None;
                }
                session = Some(left);
            }
            drop(session);
            let started = Instant::now();
            let mut next = Attempt::begin(&shared, address).unwrap();
            next.wait(0).await;
            assert_eq!(started.elapsed().is_zero(), stops, "stops: {stops}");
        }
        shutdown.begin();
    }
}
