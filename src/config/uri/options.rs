//! The options of a connection string: one table says what becomes of each.

use std::{collections::BTreeMap, time::Duration};

use super::{UriError, decode};
use crate::config::{
    read_preference::{ReadPreferenceParts, mode_named},
    schema,
    values::LONGEST,
};
use crate::topology::TagSet;

/// The options that concern a proxy, by their standard meaning; `None` where not given or not valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UriOptions {
    /// `replicaSet`
    pub set_name: Option<String>,
    /// `directConnection`
    pub direct: Option<bool>,
    /// `appName`
    pub app_name: Option<String>,
    /// `connectTimeoutMS`
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
}

/// What becomes of an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Treatment {
    /// Read by [`Reader::honour`].
    Honoured,
    /// Something else than what was asked would happen if it were ignored.
    Refused(&'static str),
    /// No effect here, because of this.
    NoEffect(&'static str),
}

const CONCERN: &str = "read and write concerns come from the client with each command";
const DRIVER: &str = "it is the application's driver that does this";
const COMPRESSION: &str = "messages between Tidegate and the nodes are not compressed";
const AUTHENTICATION: &str = "authentication to the nodes is not supported yet; take it out";
const TLS: &str = "TLS to the nodes is not supported yet; take it out";
const SOCKS: &str = "reaching the nodes through a SOCKS5 proxy is not supported; take it out";
const SRV: &str = "it is only allowed in mongodb+srv:// strings, which are not supported yet; take it out";

/// Every option of the specification, under its standard name.
const OPTIONS: &[(&str, Treatment)] = &[
    ("appName", Treatment::Honoured),
    ("authMechanism", Treatment::Refused(AUTHENTICATION)),
    ("authMechanismProperties", Treatment::Refused(AUTHENTICATION)),
    ("authSource", Treatment::Refused(AUTHENTICATION)),
    ("compressors", Treatment::NoEffect(COMPRESSION)),
    ("connectTimeoutMS", Treatment::Honoured),
    ("directConnection", Treatment::Honoured),
    ("enableOverloadRetargeting", Treatment::NoEffect(DRIVER)),
    ("gssapiServiceName", Treatment::Refused(AUTHENTICATION)),
    ("heartbeatFrequencyMS", Treatment::Honoured),
    ("journal", Treatment::NoEffect(CONCERN)),
    ("loadBalanced", Treatment::Honoured),
    ("localThresholdMS", Treatment::Honoured),
    ("maxAdaptiveRetries", Treatment::NoEffect(DRIVER)),
    ("maxConnecting", Treatment::Honoured),
    ("maxIdleTimeMS", Treatment::Honoured),
    ("maxPoolSize", Treatment::Honoured),
    ("maxStalenessSeconds", Treatment::Honoured),
    ("minPoolSize", Treatment::Honoured),
    ("proxyHost", Treatment::Refused(SOCKS)),
    ("proxyPassword", Treatment::Refused(SOCKS)),
    ("proxyPort", Treatment::Refused(SOCKS)),
    ("proxyUsername", Treatment::Refused(SOCKS)),
    ("readConcernLevel", Treatment::NoEffect(CONCERN)),
    ("readPreference", Treatment::Honoured),
    ("readPreferenceTags", Treatment::Honoured),
    ("replicaSet", Treatment::Honoured),
    ("retryReads", Treatment::NoEffect(DRIVER)),
    ("retryWrites", Treatment::NoEffect(DRIVER)),
    (
        "serverMonitoringMode",
        Treatment::NoEffect("nodes that can stream their hello are always watched that way"),
    ),
    ("serverSelectionTimeoutMS", Treatment::Honoured),
    (
        "serverSelectionTryOnce",
        Treatment::NoEffect("it concerns single-threaded drivers"),
    ),
    (
        "socketCheckIntervalMS",
        Treatment::NoEffect("it concerns single-threaded drivers"),
    ),
    (
        "socketTimeoutMS",
        Treatment::NoEffect("how long a reply may take is up to the client"),
    ),
    ("srvMaxHosts", Treatment::Refused(SRV)),
    ("srvServiceName", Treatment::Refused(SRV)),
    ("ssl", Treatment::Honoured),
    (
        "timeoutMS",
        Treatment::NoEffect("how long an operation may take is up to the client"),
    ),
    ("tls", Treatment::Honoured),
    ("tlsAllowInvalidCertificates", Treatment::Refused(TLS)),
    ("tlsAllowInvalidHostnames", Treatment::Refused(TLS)),
    ("tlsCAFile", Treatment::Refused(TLS)),
    ("tlsCertificateKeyFile", Treatment::Refused(TLS)),
    ("tlsCertificateKeyFilePassword", Treatment::Refused(TLS)),
    ("tlsDisableCertificateRevocationCheck", Treatment::Refused(TLS)),
    ("tlsDisableOCSPEndpointCheck", Treatment::Refused(TLS)),
    ("tlsInsecure", Treatment::Refused(TLS)),
    ("uuidRepresentation", Treatment::NoEffect(DRIVER)),
    ("w", Treatment::NoEffect(CONCERN)),
    ("waitQueueTimeoutMS", Treatment::Honoured),
    ("wTimeoutMS", Treatment::NoEffect(CONCERN)),
    ("zlibCompressionLevel", Treatment::NoEffect(COMPRESSION)),
];

/// The options as they were written, names and values decoded.
pub(super) fn pairs(query: &str, errors: &mut Vec<UriError>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (index, text) in query.split('&').enumerate().filter(|(_, text)| !text.is_empty()) {
        let position = index + 1;
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            errors.push(UriError::OptionForm { position });
            continue;
        };
        match (decode(name), decode(value)) {
            (Some(name), Some(value)) => pairs.push((name, value)),
            _ => errors.push(UriError::PercentEncoding {
                part: format!("option {position}"),
            }),
        }
    }
    pairs
}

/// Sorts every option by its treatment and reads those that are honoured.
pub(super) fn read(
    pairs: &[(String, String)],
    errors: &mut Vec<UriError>,
    warnings: &mut Vec<String>,
) -> UriOptions {
    // The values of each option in their order; keyed by standard name, so that messages come in a fixed order.
    let mut given: BTreeMap<&'static str, (Treatment, Vec<&str>)> = BTreeMap::new();
    for (name, value) in pairs {
        match OPTIONS
            .iter()
            .find(|(standard, _)| standard.eq_ignore_ascii_case(name))
        {
            Some((standard, treatment)) => given
                .entry(standard)
                .or_insert((*treatment, Vec::new()))
                .1
                .push(value),
            None => warnings.push(unknown(name)),
        }
    }
    let mut reader = Reader {
        options: UriOptions::default(),
        tls: Vec::new(),
        errors,
        warnings,
    };
    for (name, (treatment, values)) in given {
        match treatment {
            Treatment::Refused(why) => reader.errors.push(UriError::Unsupported { option: name, why }),
            Treatment::NoEffect(why) => reader.warnings.push(format!("{name} has no effect: {why}")),
            Treatment::Honoured => reader.honour(name, &values),
        }
    }
    reader.finish()
}

fn unknown(name: &str) -> String {
    let names: Vec<_> = OPTIONS.iter().map(|(name, _)| *name).collect();
    let meant = schema::suggest(name, &names).map_or(String::new(), |near| format!("; did you mean {near}?"));
    format!("{name:?} is ignored: there is no such option{meant}")
}

struct Reader<'a> {
    options: UriOptions,
    /// The values of `tls` and `ssl`, which are one option.
    tls: Vec<bool>,
    errors: &'a mut Vec<UriError>,
    warnings: &'a mut Vec<String>,
}

impl Reader<'_> {
    /// Reads one option. Where it was given more than once the last counts, but for `readPreferenceTags`, which
    /// is a list, and `tls`, where a contradiction is an error.
    fn honour(&mut self, name: &'static str, values: &[&str]) {
        let Some(last) = values.last().copied() else {
            return;
        };
        match name {
            "readPreferenceTags" => return self.tags(values),
            "tls" | "ssl" => return self.tls(name, values),
            _ if values.len() > 1 => self
                .warnings
                .push(format!("{name} is given more than once; the last counts")),
            _ => {}
        }
        match name {
            "appName" => self.options.app_name = self.app_name(last),
            "replicaSet" => self.options.set_name = self.text(name, last),
            "directConnection" => self.options.direct = self.boolean(name, last),
            "loadBalanced" => self.load_balanced(last),
            "connectTimeoutMS" => self.options.connect_timeout = self.millis(name, last, 1),
            "heartbeatFrequencyMS" => self.options.heartbeat = self.millis(name, last, 500),
            "serverSelectionTimeoutMS" => self.options.server_selection_timeout = self.millis(name, last, 1),
            "localThresholdMS" => self.options.local_threshold = self.millis(name, last, 0),
            "waitQueueTimeoutMS" => self.options.wait_timeout = self.millis(name, last, 1),
            "maxIdleTimeMS" => {
                let time = self.millis(name, last, 0);
                self.options.max_idle = time.map(|time| Some(time).filter(|time| !time.is_zero()));
            }
            "maxPoolSize" => self.options.max_pool_size = self.count(name, last, 1),
            "minPoolSize" => self.options.min_pool_size = self.count(name, last, 0),
            "maxConnecting" => self.options.max_connecting = self.count(name, last, 1),
            "readPreference" => self.mode(last),
            "maxStalenessSeconds" => self.max_staleness(last),
            _ => {}
        }
    }

    fn finish(self) -> UriOptions {
        if self.tls.contains(&true) && self.tls.contains(&false) {
            self.errors
                .push(UriError::Conflict("tls (or ssl) is both true and false"));
        } else if self.tls.contains(&true) {
            self.errors.push(UriError::Unsupported {
                option: "tls",
                why: TLS,
            });
        }
        self.options
    }

    fn ignored(&mut self, name: &str, value: &str, right: &str) {
        self.warnings
            .push(format!("{name}={value} is ignored: it must be {right}"));
    }

    fn text(&mut self, name: &str, value: &str) -> Option<String> {
        if value.is_empty() {
            self.ignored(name, value, "not empty");
            return None;
        }
        Some(value.to_owned())
    }

    /// At most 128 bytes, by the Handshake specification.
    fn app_name(&mut self, value: &str) -> Option<String> {
        if value.len() > 128 {
            self.ignored("appName", "...", "at most 128 bytes");
            return None;
        }
        self.text("appName", value)
    }

    fn boolean(&mut self, name: &str, value: &str) -> Option<bool> {
        let read = value.parse().ok();
        if read.is_none() {
            self.ignored(name, value, "true or false");
        }
        read
    }

    fn millis(&mut self, name: &str, value: &str, least: u64) -> Option<Duration> {
        let read = value
            .parse()
            .ok()
            .filter(|millis| *millis >= least)
            .map(Duration::from_millis);
        let read = read.filter(|time| *time <= LONGEST);
        if read.is_none() {
            let bounds = format!("a number of milliseconds from {least} to {}", LONGEST.as_millis());
            self.ignored(name, value, &bounds);
        }
        read
    }

    fn count(&mut self, name: &str, value: &str, least: usize) -> Option<usize> {
        let most = crate::config::MOST_CONNECTIONS;
        let read = value.parse().ok().filter(|count| (least..=most).contains(count));
        if read.is_none() {
            self.ignored(name, value, &format!("a number from {least} to {most}"));
        }
        read
    }

    fn load_balanced(&mut self, value: &str) {
        if self.boolean("loadBalanced", value) == Some(true) {
            let why = "Tidegate watches each node of a set itself, which it cannot do behind a load balancer";
            self.errors.push(UriError::Unsupported {
                option: "loadBalanced",
                why,
            });
        }
    }

    /// What is neither true nor false is an error: to ignore it might send in the clear what should not be.
    fn tls(&mut self, name: &'static str, values: &[&str]) {
        for value in values {
            match value.parse() {
                Ok(value) => self.tls.push(value),
                Err(_) => self.errors.push(UriError::Unsupported {
                    option: name,
                    why: "must be true or false",
                }),
            }
        }
    }

    fn parts(&mut self) -> &mut ReadPreferenceParts {
        self.options.read_preference.get_or_insert_default()
    }

    fn mode(&mut self, value: &str) {
        match mode_named(value) {
            Ok(mode) => self.parts().mode = Some(mode),
            Err(right) => self.ignored("readPreference", value, &right),
        }
    }

    /// Each value is one tag set, `dc:ny,rack:1`; an empty one fits every node.
    fn tags(&mut self, values: &[&str]) {
        let mut sets = Vec::new();
        for value in values {
            match value.parse::<TagSet>() {
                Ok(set) => sets.push(set),
                Err(_) => self.ignored("readPreferenceTags", value, "written dc:ny,rack:1"),
            }
        }
        if !sets.is_empty() {
            self.parts().tag_sets = sets;
        }
    }

    /// -1 stands for no bound (Max Staleness specification).
    fn max_staleness(&mut self, value: &str) {
        match value.parse::<i64>() {
            Ok(-1) => {}
            Ok(seconds @ 1..) if seconds.unsigned_abs() <= LONGEST.as_secs() => {
                self.parts().max_staleness = Some(Duration::from_secs(seconds.unsigned_abs()));
            }
            _ => self.ignored(
                "maxStalenessSeconds",
                value,
                "a number of seconds, or -1 for no bound",
            ),
        }
    }
}
