//! A pool in simulated time: the state machine of the library, and its shell's steps without sockets.
//!
//! Invariant: time passes only from one thing that happens to the next, so that runs are alike.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tidegate::pool::{
    Identity, Options, Share,
    pooled::{About, Pooled},
    state::{Making, Placed, State},
};

/// How long an event is waited for.
const PATIENCE_MS: u64 = 20_000;

type Event = BTreeMap<&'static str, Value>;

/// A connection on its way.
struct Pending {
    id: u64,
    making: Making,
    done_ms: u64,
}

/// How a check-out ended.
type Answer = Result<(), String>;

pub(crate) struct Simulation {
    pub(crate) events: Vec<Event>,
    state: State<u64, usize>,
    began: Instant,
    now_ms: u64,
    establishing_ms: u64,
    upkeep_ms: Option<u64>,
    next_upkeep_ms: u64,
    last_id: u64,
    pending: Vec<Pending>,
    labels: Vec<Option<String>>,
    answers: BTreeMap<usize, Answer>,
    lent: BTreeMap<String, Pooled<u64>>,
    threads: BTreeMap<String, Vec<usize>>,
}

impl Simulation {
    pub(crate) fn new(options: &Value, fail_point: &Value) -> Self {
        let number = |name: &str| options[name].as_u64();
        let defaults = Options::default();
        let pool = Options {
            max_size: number("maxPoolSize").map_or(defaults.max_size, |size| size as usize),
            min_size: number("minPoolSize").unwrap_or(0) as usize,
            max_connecting: number("maxConnecting").map_or(defaults.max_connecting, |most| most as usize),
            wait_timeout: number("waitQueueTimeoutMS").map_or(defaults.wait_timeout, Duration::from_millis),
            idle_timeout: number("maxIdleTimeMS").map(Duration::from_millis),
            max_awaiting: 0,
            ..defaults
        };
        let told = json!({
            "maxPoolSize": pool.max_size,
            "minPoolSize": pool.min_size,
            "maxIdleTimeMS": number("maxIdleTimeMS"),
        });
        // A negative interval is the tests' way to say "no upkeep"; else the shell's own is a second.
        let upkeep_ms = match options["backgroundThreadIntervalMS"].as_i64() {
            Some(interval) => u64::try_from(interval).ok(),
            None => Some(1000),
        };
        let mut simulation = Self {
            events: Vec::new(),
            state: State::new(pool),
            began: Instant::now(),
            now_ms: 0,
            establishing_ms: fail_point["data"]["blockTimeMS"].as_u64().unwrap_or(0),
            upkeep_ms,
            next_upkeep_ms: upkeep_ms.unwrap_or(u64::MAX),
            last_id: 0,
            pending: Vec::new(),
            labels: Vec::new(),
            answers: BTreeMap::new(),
            lent: BTreeMap::new(),
            threads: BTreeMap::new(),
        };
        simulation.tell("ConnectionPoolCreated", &[("options", told)]);
        simulation
    }

    pub(crate) fn ready(&mut self) {
        if self.state.is_paused() {
            self.state.ready();
            self.tell("ConnectionPoolReady", &[]);
        }
        self.connect(true);
    }

    pub(crate) fn clear(&mut self, interrupt: bool) {
        if !self.state.is_paused() {
            self.tell(
                "ConnectionPoolCleared",
                &[("interruptInUseConnections", interrupt.into())],
            );
            let (idle, waiters) = self.state.clear();
            self.end(idle, waiters, "stale", "connectionError");
        }
    }

    pub(crate) fn close(&mut self) {
        let (idle, waiters) = self.state.retire();
        self.end(idle, waiters, "poolClosed", "poolClosed");
        self.tell("ConnectionPoolClosed", &[]);
    }

    fn end(&mut self, idle: Vec<Pooled<u64>>, waiters: Vec<usize>, reason: &str, failure: &str) {
        for pooled in idle {
            self.closed(&pooled, reason);
        }
        for number in waiters {
            self.failed(number, failure);
        }
    }

    /// Asks for a connection; the answer is there at once or comes later.
    pub(crate) fn check_out(&mut self, label: Option<&str>) -> usize {
        let number = self.labels.len();
        self.labels.push(label.map(str::to_owned));
        self.tell("ConnectionCheckOutStarted", &[]);
        if self.state.is_paused() {
            let retired = self.state.is_retired();
            self.failed(number, if retired { "poolClosed" } else { "connectionError" });
            return number;
        }
        let since = self.instant();
        let times = (since, since + self.state.options().wait_timeout);
        match self
            .state
            .check_out_or_wait(&Identity::SERVICE, 0, Share::Ordinary, number, times)
        {
            Ok(pooled) => self.lend(number, pooled),
            Err(_) => {
                self.connect(false);
                self.settle();
            }
        }
        number
    }

    pub(crate) fn check_in(&mut self, label: &str) {
        let pooled = self.lent.remove(label).unwrap();
        self.tell(
            "ConnectionCheckedIn",
            &[("connectionId", pooled.connection.into())],
        );
        let placed = self.state.place(pooled, self.instant());
        self.placed(placed);
    }

    pub(crate) fn on_thread(&mut self, thread: &str, check_out: usize) {
        self.threads.entry(thread.to_owned()).or_default().push(check_out);
    }

    pub(crate) fn until_answered(&mut self, check_out: usize) -> Answer {
        self.until(&format!("check-out {check_out}"), |simulation| {
            simulation.answers.contains_key(&check_out)
        });
        self.answers[&check_out].clone()
    }

    pub(crate) fn until_thread_ended(&mut self, thread: &str) -> Answer {
        let check_outs = self.threads.remove(thread).unwrap_or_default();
        check_outs
            .into_iter()
            .try_for_each(|check_out| self.until_answered(check_out))
    }

    pub(crate) fn until_event(&mut self, event: &str, count: usize) {
        self.until(event, |simulation| {
            let so_far = simulation.events.iter().filter(|told| told["type"] == event);
            so_far.count() >= count
        });
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        let end = self.now_ms + millis;
        while self.step(end) {}
        self.now_ms = end;
    }

    fn until(&mut self, what: &str, is_there: impl Fn(&Self) -> bool) {
        let end = self.now_ms + PATIENCE_MS;
        self.settle();
        while !is_there(self) {
            assert!(self.step(end), "{what} never comes: {:#?}", self.events);
        }
    }

    /// What needs no time.
    fn settle(&mut self) {
        while self.pending.iter().any(|pending| pending.done_ms <= self.now_ms) {
            self.step(self.now_ms);
        }
    }

    /// Goes on to the next thing that happens, unless that is after `end`.
    fn step(&mut self, end: u64) -> bool {
        let done = self.pending.iter().map(|pending| pending.done_ms).min();
        let due = self.state.due();
        let timed_out = due.map(|due| due.duration_since(self.began).as_millis() as u64);
        let upkeep = self.upkeep_ms.map(|_| self.next_upkeep_ms);
        let next = [done, timed_out, upkeep].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else {
            return false;
        };
        self.now_ms = next.max(self.now_ms);
        if done == Some(next) {
            let at = self
                .pending
                .iter()
                .position(|pending| pending.done_ms == next)
                .unwrap();
            let pending = self.pending.remove(at);
            self.established(&pending);
        } else if timed_out == Some(next) {
            for number in self.state.take_late(self.instant()) {
                self.failed(number, "timeout");
            }
        } else {
            self.next_upkeep_ms = self.now_ms + self.upkeep_ms.unwrap();
            for pooled in self.state.reap(self.instant()) {
                self.closed(&pooled, "idle");
            }
            self.connect(true);
        }
        true
    }

    fn connect(&mut self, keep_warm: bool) {
        while let Some((making, _)) = self.state.begin_connect(keep_warm) {
            self.last_id += 1;
            self.tell("ConnectionCreated", &[("connectionId", self.last_id.into())]);
            self.pending.push(Pending {
                id: self.last_id,
                making,
                done_ms: self.now_ms + self.establishing_ms,
            });
        }
    }

    fn established(&mut self, pending: &Pending) {
        self.tell("ConnectionReady", &[("connectionId", pending.id.into())]);
        let about = About {
            identity: Identity::SERVICE,
            epoch: 0,
            core: 0,
            generation: pending.making.generation,
            expires: None,
        };
        let pooled = Pooled::new(pending.id, pending.making.share, about);
        let placed = self.state.connected(pooled, self.instant());
        self.placed(placed);
        self.connect(true);
    }

    fn placed(&mut self, placed: Placed<u64, usize>) {
        match placed {
            Placed::Idle => {}
            Placed::Waiter(number, pooled) => {
                self.lend(number, pooled);
            }
            Placed::Unwanted(pooled) => {
                let reason = if self.state.is_retired() {
                    "poolClosed"
                } else {
                    "stale"
                };
                self.closed(&pooled, reason);
                self.connect(false);
            }
        }
    }

    fn lend(&mut self, number: usize, pooled: Pooled<u64>) {
        self.tell(
            "ConnectionCheckedOut",
            &[("connectionId", pooled.connection.into())],
        );
        self.answers.insert(number, Ok(()));
        let label = self.labels[number]
            .clone()
            .unwrap_or_else(|| format!("check-out {number}"));
        self.lent.insert(label, pooled);
    }

    fn failed(&mut self, number: usize, reason: &str) {
        let error = match reason {
            "poolClosed" => "PoolClosedError",
            "timeout" => "WaitQueueTimeoutError",
            _ => "PoolClearedError",
        };
        self.answers.insert(number, Err(error.to_owned()));
        self.tell("ConnectionCheckOutFailed", &[("reason", reason.into())]);
    }

    fn closed(&mut self, pooled: &Pooled<u64>, reason: &str) {
        let id = pooled.connection.into();
        self.tell(
            "ConnectionClosed",
            &[("connectionId", id), ("reason", reason.into())],
        );
    }

    fn tell(&mut self, event: &str, fields: &[(&'static str, Value)]) {
        let mut told: Event = fields.iter().cloned().collect();
        told.insert("type", event.into());
        self.events.push(told);
    }

    fn instant(&self) -> Instant {
        self.began + Duration::from_millis(self.now_ms)
    }
}
