//! What a relay does to all bytes of some connections for a while: lets them be late, drips them, holds them back.

use std::time::Duration;

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

/// Bytes that drip between two pauses of a millisecond, so that some 50 KiB pass in a second.
const DRIPS: usize = 64;
/// What follows so soon had been waiting for the bytes before it, and is no later than they were.
const TOGETHER: Duration = Duration::from_micros(500);

/// One of the two directions of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Towards {
    Node,
    Client,
}

/// Which bytes are held back. As in a network that loses them, both ends keep their connections, and what was held arrives when
/// the network is whole again. New connections are accepted, and as dead as the old ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Held {
    #[default]
    None,
    /// A black hole.
    Both,
    /// A partition in one way: only what goes towards this end.
    Only(Towards),
}

/// What all marked connections go through; by default a fair wind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// By how much everything is late, in each direction.
    pub(crate) latency: Duration,
    /// Bytes pass one at a time, each in a segment of its own.
    pub(crate) drip: bool,
    pub(crate) held: Held,
    /// Connections without the mark suffer the same.
    pub(crate) spares_none: bool,
}

impl Weather {
    pub(super) fn holds(&self, towards: Towards) -> bool {
        match self.held {
            Held::None => false,
            Held::Both => true,
            Held::Only(held) => held == towards,
        }
    }

    fn is_fair(&self) -> bool {
        self.latency.is_zero() && !self.drip && self.held == Held::None
    }
}

/// One direction of one connection under the weather.
pub(super) struct Exposed {
    weather: watch::Receiver<Weather>,
    towards: Towards,
    is_marked: bool,
    passed: Option<Instant>,
}

impl Exposed {
    pub(super) fn new(weather: watch::Receiver<Weather>, towards: Towards, is_marked: bool) -> Self {
        Self {
            weather,
            towards,
            is_marked,
            passed: None,
        }
    }

    fn now(&self) -> Weather {
        let weather = *self.weather.borrow();
        if self.is_marked || weather.spares_none {
            weather
        } else {
            Weather::default()
        }
    }

    /// Keeps bytes that have just been read until it is their time. Says whether they had anything to endure.
    pub(super) async fn endure(&mut self) -> bool {
        let weather = self.now();
        if weather.is_fair() {
            return false;
        }
        let read = Instant::now();
        if !weather.latency.is_zero() && self.passed.is_none_or(|passed| read - passed > TOGETHER) {
            sleep_until(read + weather.latency).await;
        }
        let (towards, is_marked) = (self.towards, self.is_marked);
        let clear = |weather: &Weather| !(weather.holds(towards) && (is_marked || weather.spares_none));
        // The sender lives as long as the relay.
        let _ = self.weather.wait_for(clear).await;
        self.passed = Some(Instant::now());
        true
    }

    /// Whether bytes drip now.
    pub(super) fn drips(&self) -> bool {
        self.now().drip
    }
}

/// Writes byte by byte.
pub(super) async fn drip(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    for some in bytes.chunks(DRIPS) {
        for byte in some {
            to.write_all(std::slice::from_ref(byte)).await?;
            tokio::task::yield_now().await;
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
