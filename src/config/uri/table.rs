//! Every option of the URI Options specification: what its value may be, and what becomes of it.

use super::value::{Kind, MOST};

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Used: by `honoured`, or in finding the nodes.
    Honoured,
    /// Something else than what was asked would happen if it were ignored.
    Refused(&'static str),
    /// No effect here, because of this.
    NoEffect(&'static str),
}

use Treatment::{Honoured, NoEffect, Refused};

const CONCERN: &str = "read and write concerns come from the client with each command";
const DRIVER: &str = "it is the application's driver that does this";
const KERBEROS: &str = "Kerberos is not supported towards nodes; take it out";
const REVOCATION: &str = "whether certificates were revoked is not looked up";
const SOCKS: &str = "reaching the nodes through a SOCKS5 proxy is not supported; take it out";
const SINGLE_THREADED: &str = "it concerns single-threaded drivers";
const NOT_NEGATIVE: Kind = Kind::Integer(0, MOST);

/// An option.
#[derive(Debug)]
pub(super) struct Row {
    /// Its standard name; options are matched without regard to case.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) treatment: Treatment,
}

const fn row(name: &'static str, kind: Kind, treatment: Treatment) -> Row {
    Row {
        name,
        kind,
        treatment,
    }
}

/// Every option under its standard name.
pub(super) const OPTIONS: &[Row] = &[
    row("appName", Kind::AppName, Honoured),
    row("authMechanism", Kind::Text, Honoured),
    row("authMechanismProperties", Kind::Properties, Honoured),
    row("authSource", Kind::Text, Honoured),
    row("compressors", Kind::List(&["snappy", "zlib", "zstd"]), Honoured),
    row("connectTimeoutMS", Kind::Millis(0), Honoured),
    row("directConnection", Kind::Boolean, Honoured),
    row("enableOverloadRetargeting", Kind::Boolean, NoEffect(DRIVER)),
    row("gssapiServiceName", Kind::Text, Refused(KERBEROS)),
    row("heartbeatFrequencyMS", Kind::Millis(500), Honoured),
    row("journal", Kind::Boolean, NoEffect(CONCERN)),
    row("loadBalanced", Kind::Boolean, Honoured),
    row("localThresholdMS", Kind::Millis(0), Honoured),
    row("maxAdaptiveRetries", NOT_NEGATIVE, NoEffect(DRIVER)),
    row("maxConnecting", Kind::Integer(1, MOST), Honoured),
    row("maxIdleTimeMS", Kind::Millis(0), Honoured),
    row("maxPoolSize", NOT_NEGATIVE, Honoured),
    row("maxStalenessSeconds", Kind::Staleness, Honoured),
    row("minPoolSize", NOT_NEGATIVE, Honoured),
    row("proxyHost", Kind::Text, Refused(SOCKS)),
    row("proxyPassword", Kind::Secret, Refused(SOCKS)),
    row("proxyPort", Kind::Integer(0, 65535), Refused(SOCKS)),
    row("proxyUsername", Kind::Secret, Refused(SOCKS)),
    row("readConcernLevel", Kind::Text, NoEffect(CONCERN)),
    row("readPreference", Kind::Mode, Honoured),
    row("readPreferenceTags", Kind::TagSets, Honoured),
    row("replicaSet", Kind::Text, Honoured),
    row("retryReads", Kind::Boolean, NoEffect(DRIVER)),
    row("retryWrites", Kind::Boolean, NoEffect(DRIVER)),
    row(
        "serverMonitoringMode",
        Kind::OneOf(&["auto", "poll", "stream"]),
        NoEffect("nodes that can stream their hello are always watched that way"),
    ),
    row("serverSelectionTimeoutMS", Kind::Millis(1), Honoured),
    row("serverSelectionTryOnce", Kind::Boolean, NoEffect(SINGLE_THREADED)),
    row(
        "socketCheckIntervalMS",
        Kind::Millis(0),
        NoEffect(SINGLE_THREADED),
    ),
    row(
        "socketTimeoutMS",
        Kind::Millis(0),
        NoEffect("how long a reply may take is up to the client"),
    ),
    row("srvMaxHosts", NOT_NEGATIVE, Honoured),
    row("srvServiceName", Kind::ServiceName, Honoured),
    row("ssl", Kind::Boolean, Honoured),
    row(
        "timeoutMS",
        Kind::Millis(0),
        NoEffect("how long an operation may take is up to the client"),
    ),
    row("tls", Kind::Boolean, Honoured),
    row("tlsAllowInvalidCertificates", Kind::Boolean, Honoured),
    row("tlsAllowInvalidHostnames", Kind::Boolean, Honoured),
    row("tlsCAFile", Kind::Text, Honoured),
    row("tlsCertificateKeyFile", Kind::Text, Honoured),
    row("tlsCertificateKeyFilePassword", Kind::Secret, Honoured),
    row(
        "tlsDisableCertificateRevocationCheck",
        Kind::Boolean,
        NoEffect(REVOCATION),
    ),
    row("tlsDisableOCSPEndpointCheck", Kind::Boolean, NoEffect(REVOCATION)),
    row("tlsInsecure", Kind::Boolean, Honoured),
    row("uuidRepresentation", Kind::Text, NoEffect(DRIVER)),
    row("w", Kind::W, NoEffect(CONCERN)),
    row("waitQueueTimeoutMS", Kind::Millis(1), Honoured),
    row("wTimeoutMS", Kind::Millis(0), NoEffect(CONCERN)),
    row("zlibCompressionLevel", Kind::Integer(-1, 9), Honoured),
];

/// Names that options had once, and what they are called now.
pub(super) const RENAMED: &[(&str, &str)] = &[("wtimeout", "wTimeoutMS")];

/// The option of this name.
pub(super) fn find(name: &str) -> Option<&'static Row> {
    OPTIONS.iter().find(|row| row.name.eq_ignore_ascii_case(name))
}

/// What an option is called now that had this name.
pub(super) fn renamed(name: &str) -> Option<&'static Row> {
    let (_, now) = RENAMED.iter().find(|(old, _)| old.eq_ignore_ascii_case(name))?;
    find(now)
}
