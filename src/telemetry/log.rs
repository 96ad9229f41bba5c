//! The log: `tracing` events on standard error, as text for people or as JSON for machines.

use std::{
    fmt,
    io::IsTerminal,
    str::FromStr,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt as text, layer::SubscriberExt, registry::LookupSpan, reload,
};

/// The environment variable that sets the level over all else, as `RUST_LOG` does elsewhere.
pub const VARIABLE: &str = "TIDEGATE_LOG";

/// How the log is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which events are written.
    pub level: Level,
    /// In which form.
    pub format: Format,
    /// Commands that take as long are written down; `None` for none.
    pub slow: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: Level::default(),
            format: Format::default(),
            slow: Some(Duration::from_millis(500)),
        }
    }
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text, with colours where standard error is a terminal.
    #[default]
    Auto,
    /// Text without colours.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which events are written: a level for all (`info`), and levels for single modules
/// (`info,tidegate::pool=debug`).
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    text: String,
    targets: Targets,
}

/// Why a text names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no level; write error, warn, info, debug, trace or off, and for one module info,tidegate::pool=debug"
)]
pub struct LevelError(String);

impl Default for Level {
    fn default() -> Self {
        Self {
            text: "info".to_owned(),
            targets: Targets::new().with_default(LevelFilter::INFO),
        }
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let mut targets = Targets::new();
        for part in text.split(',').map(str::trim) {
            let (target, level) = part
                .split_once('=')
                .map_or((None, part), |(target, level)| (Some(target), level));
            // `LevelFilter` would take numbers and an empty string too.
            let named = level.bytes().all(|byte| byte.is_ascii_alphabetic()) && !level.is_empty();
            let level: LevelFilter = match level.parse() {
                Ok(level) if named && target.is_none_or(is_module) => level,
                _ => return Err(LevelError(part.to_owned())),
            };
            targets = match target {
                Some(target) => targets.with_target(target, level),
                None => targets.with_default(level),
            };
        }
        Ok(Self {
            text: text.to_owned(),
            targets,
        })
    }
}

/// Whether this can be the path of a module.
fn is_module(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The variable's value is no level.
    #[error("{VARIABLE}: {0}")]
    Variable(LevelError),
    /// This process has a log already.
    #[error("the log is set up already")]
    Twice,
}

/// Starts the log of this process. Call it once, before the first thread is started.
///
/// # Errors
/// If [`VARIABLE`] names no level, or this process has a log already.
pub fn init(options: &Options) -> Result<(), Error> {
    let (level, may_change) = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => (text.parse().map_err(Error::Variable)?, false),
        _ => (options.level.clone(), true),
    };
    let ansi = options.format == Format::Auto && std::io::stderr().is_terminal();
    let (control, filter) = Control::new(level, may_change);
    let layer = layer(options.format, ansi, std::io::stderr).with_filter(filter);
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::Twice)?;
    CONTROL.set(control).map_err(|_| Error::Twice)
}

/// Puts another configured level in force, as soon as no other one is that was set by hand; `false` if nothing comes of that, because
/// [`VARIABLE`] sets the level over all else, or there is no log.
pub fn set_level(level: &Level) -> bool {
    control().is_some_and(|control| control.configure(level))
}

/// Changes the level of this process's log.
static CONTROL: OnceLock<Control> = OnceLock::new();

/// The log's level while the process runs; `None` of a process whose log is not its own.
pub fn control() -> Option<&'static Control> {
    CONTROL.get()
}

/// What changes a log's level.
#[derive(Debug)]
pub struct Control {
    filter: reload::Handle<Targets, Registry>,
    /// The environment has not set it over all else.
    may_change: bool,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    configured: Level,
    level: Level,
    /// When the configured one is in force again.
    until: Option<Instant>,
    /// How often it was changed: a change that is to end knows by that whether it is still the newest.
    changes: u64,
}

impl Control {
    fn new(level: Level, may_change: bool) -> (Self, reload::Layer<Targets, Registry>) {
        let (layer, filter) = reload::Layer::new(level.targets.clone());
        let now = Now {
            configured: level.clone(),
            level,
            until: None,
            changes: 0,
        };
        let control = Self {
            filter,
            may_change,
            now: Mutex::new(now),
        };
        (control, layer)
    }

    /// The level that is configured.
    pub fn configured(&self) -> Level {
        self.lock().configured.clone()
    }

    fn configure(&self, level: &Level) -> bool {
        if !self.may_change {
            return false;
        }
        let mut now = self.lock();
        let is_overridden = now.level != now.configured;
        now.configured = level.clone();
        is_overridden || {
            now.level = level.clone();
            self.filter.reload(level.targets.clone()).is_ok()
        }
    }

    /// The level in force, and how long it still is if that is settled.
    pub fn now(&self) -> (Level, Option<Duration>) {
        let now = self.lock();
        let left = now
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        (now.level.clone(), left)
    }

    /// Sets the level; `None` sets the configured one. Whether that is another one, and the number of this change, by which it is
    /// [ended](Control::end) where it is to last only so long.
    pub fn set(&self, level: Option<Level>, lasts: Option<Duration>) -> (bool, u64) {
        self.set_now(&mut self.lock(), level, lasts)
    }

    fn set_now(&self, now: &mut Now, level: Option<Level>, lasts: Option<Duration>) -> (bool, u64) {
        let level = level.unwrap_or_else(|| now.configured.clone());
        let changed = now.level != level;
        // It fails only where the log is gone.
        let _ = self.filter.reload(level.targets.clone());
        now.level = level;
        now.until = lasts.map(|lasts| Instant::now() + lasts);
        now.changes += 1;
        (changed, now.changes)
    }

    /// Sets the configured level again, unless another one was set since that change.
    pub fn end(&self, change: u64) {
        let mut now = self.lock();
        if now.changes == change {
            self.set_now(&mut now, None, None);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The layer that writes events to `writer`. A log that cannot be written is no reason to fail, or to write about
/// that to the same place.
fn layer<S, W>(format: Format, ansi: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> text::MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = text::layer()
        .with_writer(writer)
        .with_ansi(ansi)
        .log_internal_errors(false);
    match format {
        Format::Json => layer.json().flatten_event(true).boxed(),
        Format::Auto | Format::Text => layer.compact().boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, level: &str, ansi: bool, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let level: Level = level.parse().unwrap();
        let layer = layer(format, ansi, move || writer.clone()).with_filter(level.targets);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn levels_are_for_all_or_for_one_module() {
        let log = || {
            tracing::info!(target: "tidegate::pool", "pool info");
            tracing::debug!(target: "tidegate::pool", "pool debug");
            tracing::debug!(target: "tidegate::wire", "wire debug");
        };
        let text = written(Format::Text, "info,tidegate::pool=debug", false, log);
        assert!(
            text.contains("pool info") && text.contains("pool debug") && !text.contains("wire debug"),
            "{text}"
        );
        assert_eq!(written(Format::Text, "off", false, log), "");
    }

    #[test]
    fn the_level_changes_while_the_process_runs_and_goes_back() {
        let written = Written::default();
        let writer = written.clone();
        let (control, filter) = Control::new("info".parse().unwrap(), true);
        let layer = layer(Format::Text, false, move || writer.clone()).with_filter(filter);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::debug!("one");
            let (changed, _) = control.set(Some("debug".parse().unwrap()), None);
            assert!(changed);
            tracing::debug!("two");
            let (changed, first) = control.set(Some("debug".parse().unwrap()), Some(Duration::from_secs(60)));
            assert!(!changed && control.now().1.is_some());
            let (_, second) = control.set(Some("trace".parse().unwrap()), Some(Duration::from_secs(60)));
            control.end(first);
            assert_eq!(control.now().0.to_string(), "trace", "another one was set since");
            control.end(second);
            assert_eq!(control.now(), (control.configured(), None));
            tracing::debug!("three");
            control.set(Some("trace".parse().unwrap()), None);
            assert!(control.configure(&"warn".parse().unwrap()));
            assert_eq!(control.now().0.to_string(), "trace", "what was set by hand stays");
            control.set(None, None);
            assert!(control.configure(&"error".parse().unwrap()));
            assert_eq!(control.now().0.to_string(), "error");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(
            !text.contains("one") && text.contains("two") && !text.contains("three"),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for text in [
            "",
            "inof",
            "3",
            "info,",
            "=debug",
            "tidegate=",
            "tidegate=loud",
            "tidegate::pool",
        ] {
            assert!(text.parse::<Level>().is_err(), "{text:?}");
        }
        assert_eq!("info".parse::<Level>().unwrap(), Level::default());
    }

    #[test]
    fn text_is_coloured_only_if_asked_and_json_is_one_object_a_line() {
        let log = || tracing::warn!(node = "a:1", "it is down");
        assert!(written(Format::Auto, "info", true, log).contains('\u{1b}'));
        assert!(!written(Format::Text, "info", false, log).contains('\u{1b}'));
        let json: serde_json::Value =
            serde_json::from_str(&written(Format::Json, "info", false, log)).unwrap();
        assert_eq!(
            (&json["level"], &json["node"], &json["message"]),
            (&"WARN".into(), &"a:1".into(), &"it is down".into())
        );
    }
}
