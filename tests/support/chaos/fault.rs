//! The faults: what is done to the set or to the network, and how it is undone.
//!
//! Each is inflicted while clients work, and undone before it returns: all members are at work again then.

use std::{sync::Arc, time::Duration};

use bson::{Bson, Document, doc};
use fastrand::Rng;
use tidegate::sandbox::ReplicaSet;
use tokio::time::{Instant, sleep, timeout};

use super::{COMMENT, DATABASE, PROXIED, now};
use crate::support::relay::{Held, Met, Point, RelayedSet, Towards, Trap, Weather};

/// For elections and reconfigurations on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const NOT_WRITABLE_PRIMARY: i32 = 10107;
/// A fault shall meet as many commands at the node that it concerns, and waits as long for them.
const ENOUGH: usize = 2;
const LOOK: Duration = Duration::from_millis(500);
/// How long a part of the network is away in which no election comes of it.
const GREY: Duration = Duration::from_secs(8);
/// A node that stepped down may be elected again after this.
const STEP_DOWN_SECONDS: i32 = 5;
/// How long a fault of the network lasts that sets off no election.
const BAD_WEATHER: Duration = Duration::from_millis(2000);
/// Messages that one relay cuts at most, and every how many of all are cut: what is sent again at once shall pass mostly, for
/// whatever cuts a command at each attempt makes it fail.
const MOST_CUTS: u64 = 10;
const CUT_EVERY: u32 = 20;

macro_rules! classes {
    ($($class:ident, $name:literal, $elects:literal, $what:literal;)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Class {
            $(#[doc = $what] $class,)*
        }

        impl Class {
            pub(crate) const ALL: &[Self] = &[$(Self::$class,)*];

            /// The name on the command line and in tables.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$class => $name,)*
                }
            }

            /// What is done, in a few words.
            pub(crate) fn what(self) -> &'static str {
                match self {
                    $(Self::$class => $what,)*
                }
            }

            /// Whether another node becomes primary.
            pub(crate) fn elects(self) -> bool {
                match self {
                    $(Self::$class => $elects,)*
                }
            }
        }
    };
}

classes! {
    StepDown, "stepdown", true, "`replSetStepDown` of the primary";
    StepDownForce, "stepdown_force", true, "`replSetStepDown` with `force`, without waiting for a secondary";
    Kill, "kill", true, "SIGKILL of the primary, restarted after the election";
    Stop, "stop", true, "SIGSTOP of the primary, SIGCONT some time after the election";
    Rolling, "rolling", true, "all three nodes terminated and restarted, the primary last";
    Reconfig, "reconfig", false, "a secondary removed and added by `replSetReconfig`";
    Latency, "latency", false, "50 ms in each direction, to all nodes";
    CutBefore, "cut_before", false, "connections cut before the request has wholly passed";
    CutAfter, "cut_after", false, "connections cut when the node has answered, before any of that has passed";
    CutReply, "cut_reply", false, "connections cut in mid-reply";
    CutOff, "cut_off", false, "the clients' connections to the primary held, both ways; no election";
    BlackHole, "black_hole", true, "everything to the primary and its answers held; the others elect";
    OneWayTo, "one_way_to", true, "everything towards the primary held, what it sends passes; the others mostly elect";
    OneWayFrom, "one_way_from", true, "what the primary answers is held, what is sent to it passes; the others mostly elect";
    Drip, "drip", false, "bytes dripped one at a time, to all nodes";
}

impl Class {
    /// Whether a primary may have taken writes that no other node has: with less than a majority they may be lost.
    pub(crate) fn may_roll_back(self) -> bool {
        matches!(
            self,
            Self::StepDownForce
                | Self::Kill
                | Self::Stop
                | Self::BlackHole
                | Self::OneWayTo
                | Self::OneWayFrom
        )
    }
}

/// A fault that is over.
#[derive(Debug, Clone)]
pub(crate) struct Inflicted {
    pub(crate) class: Class,
    /// Seconds since 1970; at the end all members are at work again.
    pub(crate) start: f64,
    pub(crate) end: f64,
    /// Commands of the proxy that the nodes concerned were at when it began.
    pub(crate) in_flight: usize,
    /// What relays cut, swallowed, slowed, or saw unanswered.
    pub(crate) met: Vec<Met>,
}

/// Inflicts faults on a set behind relays.
pub(crate) struct Inflictor<'a> {
    pub(crate) nodes: &'a RelayedSet,
    pub(crate) rng: Rng,
    in_flight: usize,
}

type Done = Result<(), String>;

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Has the primary carry out a command that may be repeated; again, on the primary of that moment, if one fails as it steps down.
pub(super) async fn insist(set: &ReplicaSet, command: &Document) -> Done {
    let deadline = Instant::now() + LIMIT;
    loop {
        let primary = set.primary().await.map_err(told)?;
        match set.command(primary, command.clone()).await {
            Ok(_) => return Ok(()),
            Err(why) if Instant::now() > deadline => return Err(told(why)),
            Err(_) => sleep(POLL).await,
        }
    }
}

impl<'a> Inflictor<'a> {
    pub(crate) fn new(nodes: &'a RelayedSet, seed: u64) -> Self {
        Self {
            nodes,
            rng: Rng::with_seed(seed),
            in_flight: 0,
        }
    }

    /// Inflicts a fault and waits until all is well again.
    ///
    /// # Errors
    /// What failed, if the set did not do what it should.
    pub(crate) async fn inflict(&mut self, class: Class) -> Result<Inflicted, String> {
        let before: Vec<usize> = self.nodes.relays.iter().map(|relay| relay.met().len()).collect();
        self.in_flight = 0;
        let start = now();
        let done = self.act(class).await;
        // Whatever failed, nothing stays broken.
        for relay in &self.nodes.relays {
            relay.set_trap(None);
            relay.set_weather(Weather::default());
        }
        done.map_err(|why| format!("{}: {why}", class.name()))?;
        self.nodes.set.wait_ready().await.map_err(told)?;
        self.wait_majority().await?;
        let relays = self.nodes.relays.iter().zip(before);
        let met = relays.flat_map(|(relay, before)| relay.met().into_iter().skip(before));
        Ok(Inflicted {
            class,
            start,
            end: now(),
            in_flight: self.in_flight,
            met: met.filter(|met| met.who == PROXIED).collect(),
        })
    }

    /// Waits until the others follow the new primary, which takes longer than to elect it.
    async fn wait_majority(&self) -> Done {
        let write = doc! {
            "update": "probe", "updates": [{ "q": { "_id": 1 }, "u": { "$inc": { "n": 1 } }, "upsert": true }],
            "writeConcern": { "w": "majority" }, "$db": DATABASE,
        };
        insist(&self.nodes.set, &write).await
    }

    async fn act(&mut self, class: Class) -> Done {
        let primary = self.nodes.set.primary().await.map_err(told)?;
        let hold = |held, spares_none| Weather {
            held,
            spares_none,
            ..Weather::default()
        };
        match class {
            Class::StepDown => self.step_down(primary, false).await,
            Class::StepDownForce => self.step_down(primary, true).await,
            Class::Kill => self.kill(primary).await,
            Class::Stop => self.stop(primary).await,
            Class::Rolling => self.roll(primary).await,
            Class::Reconfig => self.reconfigure(primary).await,
            Class::Latency => {
                self.weather(Weather {
                    latency: Duration::from_millis(50),
                    ..Weather::default()
                })
                .await
            }
            Class::Drip => {
                self.weather(Weather {
                    drip: true,
                    ..Weather::default()
                })
                .await
            }
            Class::CutBefore => self.trap(Point::BeforeSend).await,
            Class::CutAfter => self.trap(Point::AfterSend).await,
            Class::CutReply => self.trap(Point::MidReply).await,
            Class::CutOff => {
                self.look(primary).await;
                self.nodes.relays[primary].set_weather(hold(Held::Both, false));
                sleep(BAD_WEATHER).await;
                Ok(())
            }
            Class::BlackHole => self.part(primary, hold(Held::Both, true)).await,
            Class::OneWayTo => self.part(primary, hold(Held::Only(Towards::Node), true)).await,
            Class::OneWayFrom => self.part(primary, hold(Held::Only(Towards::Client), true)).await,
        }
    }

    /// Waits a little until a node is at some commands, and counts them.
    async fn look(&mut self, node: usize) {
        let relay = &self.nodes.relays[node];
        let deadline = Instant::now() + LOOK;
        while relay.in_flight(PROXIED).len() < ENOUGH && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        self.in_flight += relay.in_flight(PROXIED).len();
    }

    async fn some_time(&mut self, milliseconds: std::ops::Range<u64>) {
        sleep(Duration::from_millis(self.rng.u64(milliseconds))).await;
    }

    async fn step_down(&mut self, primary: usize, force: bool) -> Done {
        self.look(primary).await;
        let command = doc! {
            "replSetStepDown": STEP_DOWN_SECONDS,
            "secondaryCatchUpPeriodSecs": if force { 0 } else { STEP_DOWN_SECONDS - 1 },
            "force": force,
        };
        let deadline = Instant::now() + LIMIT;
        // It refuses while no secondary catches up, as on a busy machine.
        while let Err(why) = self.nodes.set.command(primary, command.clone()).await {
            if why.code() == Some(NOT_WRITABLE_PRIMARY) {
                break;
            }
            if Instant::now() > deadline {
                return Err(told(why));
            }
            sleep(POLL).await;
        }
        self.new_primary(primary).await
    }

    async fn kill(&mut self, primary: usize) -> Done {
        self.look(primary).await;
        self.nodes.set.kill(primary).map_err(told)?;
        self.new_primary(primary).await?;
        self.some_time(200..1000).await;
        self.nodes.set.restart(primary).await.map_err(told)
    }

    async fn stop(&mut self, primary: usize) -> Done {
        self.look(primary).await;
        self.nodes.set.pause(primary).map_err(told)?;
        let elected = self.new_primary(primary).await;
        self.some_time(500..2000).await;
        self.nodes.set.resume(primary).map_err(told)?;
        elected
    }

    async fn roll(&mut self, primary: usize) -> Done {
        let others = (0..self.nodes.relays.len()).filter(|node| *node != primary);
        for node in others.chain([primary]).collect::<Vec<_>>() {
            self.look(node).await;
            self.nodes.set.terminate(node).await.map_err(told)?;
            self.nodes.set.restart(node).await.map_err(told)?;
            self.nodes.set.wait_ready().await.map_err(told)?;
        }
        Ok(())
    }

    async fn reconfigure(&mut self, primary: usize) -> Done {
        let away = (primary + self.rng.usize(1..self.nodes.relays.len())) % self.nodes.relays.len();
        let mut reply = self
            .nodes
            .set
            .command(primary, doc! { "replSetGetConfig": 1 })
            .await
            .map_err(told)?;
        let configuration = reply.get_document_mut("config").map_err(told)?;
        let whole = configuration.get_array("members").map_err(told)?.clone();
        let rest = whole.iter().enumerate().filter(|(number, _)| *number != away);
        let rest: Vec<Bson> = rest.map(|(_, member)| member.clone()).collect();
        self.look(away).await;
        self.install(primary, configuration, rest).await?;
        self.some_time(800..1600).await;
        self.install(primary, configuration, whole).await
    }

    async fn install(&self, primary: usize, configuration: &mut Document, members: Vec<Bson>) -> Done {
        let version = configuration.get_i32("version").map_err(told)?;
        configuration.insert("version", version + 1);
        configuration.insert("members", members);
        let deadline = Instant::now() + LIMIT;
        loop {
            let command = doc! { "replSetReconfig": configuration.clone() };
            let Err(why) = self.nodes.set.command(primary, command).await else {
                return Ok(());
            };
            // The one before has to be committed first.
            if Instant::now() > deadline {
                return Err(told(why));
            }
            sleep(POLL).await;
        }
    }

    async fn weather(&mut self, weather: Weather) -> Done {
        for node in 0..self.nodes.relays.len() {
            self.look(node).await;
            self.nodes.relays[node].set_weather(weather);
        }
        sleep(BAD_WEATHER).await;
        Ok(())
    }

    async fn trap(&mut self, point: Point) -> Done {
        let trap = Trap {
            every: CUT_EVERY,
            passed: Arc::new(self.rng.u32(..CUT_EVERY).into()),
            // The attempts at a read are few.
            once_for: Some(COMMENT),
            ..Trap::new(point, DATABASE, MOST_CUTS)
        };
        for relay in &self.nodes.relays {
            self.in_flight += relay.in_flight(PROXIED).len();
            relay.set_trap(Some(trap.clone()));
        }
        sleep(BAD_WEATHER).await;
        Ok(())
    }

    async fn part(&mut self, primary: usize, weather: Weather) -> Done {
        self.look(primary).await;
        self.nodes.relays[primary].set_weather(weather);
        match timeout(GREY, self.new_primary(primary)).await {
            Ok(elected) => elected?,
            // What streams from it may be enough for the others to keep it.
            Err(_) if matches!(weather.held, Held::Only(_)) => {}
            Err(_) => self.new_primary(primary).await?,
        }
        self.some_time(500..2000).await;
        Ok(())
    }

    /// Waits until another node than `old` accepts writes.
    async fn new_primary(&self, old: usize) -> Done {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            for node in (0..self.nodes.relays.len()).filter(|node| *node != old) {
                let hello = self.nodes.set.command(node, doc! { "hello": 1 }).await;
                if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                    return Ok(());
                }
            }
            sleep(POLL).await;
        }
        Err(format!("no new primary within {LIMIT:?}"))
    }
}
