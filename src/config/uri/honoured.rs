//! The options that concern a proxy, in the units of its settings.

use std::time::Duration;

use super::{Options, Value};
use crate::{
    config::{
        MOST_CONNECTIONS,
        read_preference::{ReadPreferenceParts, mode_named},
    },
    tls::{ConnectorOptions, Password},
    wire::Compressor,
};

/// The options that concern a proxy, by their standard meaning; `None` where not given or not usable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UriOptions {
    /// `replicaSet`
    pub set_name: Option<String>,
    /// `directConnection`
    pub direct: Option<bool>,
    /// `appName`
    pub app_name: Option<String>,
    /// `connectTimeoutMS`, at least 1 ms.
    pub connect_timeout: Option<Duration>,
    /// `heartbeatFrequencyMS`, at least 500 ms.
    pub heartbeat: Option<Duration>,
    /// `serverSelectionTimeoutMS`
    pub server_selection_timeout: Option<Duration>,
    /// `localThresholdMS`
    pub local_threshold: Option<Duration>,
    /// `maxPoolSize`, at least 1.
    pub max_pool_size: Option<usize>,
    /// `minPoolSize`
    pub min_pool_size: Option<usize>,
    /// `maxConnecting`, at least 1.
    pub max_connecting: Option<usize>,
    /// `waitQueueTimeoutMS`
    pub wait_timeout: Option<Duration>,
    /// `maxIdleTimeMS`; `Some(None)` where idle connections shall be kept (0).
    pub max_idle: Option<Option<Duration>>,
    /// `readPreference`, `readPreferenceTags`, `maxStalenessSeconds`; `None` where none of the three was given.
    pub read_preference: Option<ReadPreferenceParts>,
    /// `compressors`, the preferred one first.
    pub compressors: Option<Vec<Compressor>>,
    /// `zlibCompressionLevel`, from -1 to 9.
    pub zlib_level: Option<i8>,
    /// `tls` and the options that begin with it; `None` for connections in the clear.
    pub tls: Option<ConnectorOptions>,
}

/// Takes what concerns a proxy. Valid values that Tidegate has no use for are told in `notes`.
pub(super) fn honoured(options: &Options, notes: &mut Vec<String>) -> UriOptions {
    let text = |name| options.text(name).map(str::to_owned);
    let time = |name| {
        let millis = u64::try_from(options.integer(name)?).ok()?;
        Some(Duration::from_millis(millis))
    };
    let count = |name, least, notes: &mut Vec<String>| {
        let given = options.integer(name)?;
        let count = usize::try_from(given).ok();
        let count = count.filter(|count| (least..=MOST_CONNECTIONS).contains(count));
        if count.is_none() {
            notes.push(format!(
                "{name}={given} is ignored: it must be a number from {least} to {MOST_CONNECTIONS}"
            ));
        }
        count
    };
    let connect_timeout = time("connectTimeoutMS");
    if connect_timeout.is_some_and(|time| time.is_zero()) {
        notes.push("connectTimeoutMS=0 is ignored: to connect may not take forever".to_owned());
    }
    UriOptions {
        set_name: text("replicaSet"),
        direct: options.boolean("directConnection"),
        app_name: text("appName"),
        connect_timeout: connect_timeout.filter(|time| !time.is_zero()),
        heartbeat: time("heartbeatFrequencyMS"),
        server_selection_timeout: time("serverSelectionTimeoutMS"),
        local_threshold: time("localThresholdMS"),
        max_pool_size: count("maxPoolSize", 1, notes),
        min_pool_size: count("minPoolSize", 0, notes),
        max_connecting: count("maxConnecting", 1, notes),
        wait_timeout: time("waitQueueTimeoutMS"),
        max_idle: time("maxIdleTimeMS").map(|time| Some(time).filter(|time| !time.is_zero())),
        read_preference: read_preference(options),
        compressors: compressors(options),
        zlib_level: options
            .integer("zlibCompressionLevel")
            .and_then(|level| i8::try_from(level).ok()),
        tls: tls(options),
    }
}

/// Paths count from the working directory, as in drivers.
fn tls(options: &Options) -> Option<ConnectorOptions> {
    let is_true = |name| options.boolean(name) == Some(true);
    is_true("tls").then(|| ConnectorOptions {
        ca: options.text("tlsCAFile").map(Into::into),
        certificate_key: options.text("tlsCertificateKeyFile").map(Into::into),
        key_password: match options.get("tlsCertificateKeyFilePassword") {
            Some(Value::Secret(password)) => Some(Password::Text(password.expose().into())),
            _ => None,
        },
        allow_invalid_certificates: is_true("tlsAllowInvalidCertificates") || is_true("tlsInsecure"),
        allow_invalid_hostnames: is_true("tlsAllowInvalidHostnames") || is_true("tlsInsecure"),
    })
}

fn compressors(options: &Options) -> Option<Vec<Compressor>> {
    let Value::List(names) = options.get("compressors")? else {
        return None;
    };
    let mut compressors = Vec::new();
    for compressor in names.iter().filter_map(|name| name.parse().ok()) {
        if !compressors.contains(&compressor) {
            compressors.push(compressor);
        }
    }
    Some(compressors)
}

fn read_preference(options: &Options) -> Option<ReadPreferenceParts> {
    let parts = ReadPreferenceParts {
        mode: options
            .text("readPreference")
            .and_then(|name| mode_named(name).ok()),
        tag_sets: match options.get("readPreferenceTags") {
            Some(Value::TagSets(sets)) => sets.clone(),
            _ => Vec::new(),
        },
        // -1 is no bound.
        max_staleness: options
            .integer("maxStalenessSeconds")
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
    };
    Some(parts).filter(|parts| *parts != ReadPreferenceParts::default())
}
