//! What contradicts each other in a connection string, by the specifications that define the options.

use super::{ConnectionString, UriError, Value};

/// No two of these may be given together, whatever their values (URI Options specification, "Conflicting TLS options").
const TLS: &[(&str, &str)] = &[
    ("tlsInsecure", "tlsAllowInvalidCertificates"),
    ("tlsInsecure", "tlsAllowInvalidHostnames"),
    ("tlsInsecure", "tlsDisableOCSPEndpointCheck"),
    ("tlsInsecure", "tlsDisableCertificateRevocationCheck"),
    ("tlsAllowInvalidCertificates", "tlsDisableOCSPEndpointCheck"),
    (
        "tlsAllowInvalidCertificates",
        "tlsDisableCertificateRevocationCheck",
    ),
    (
        "tlsDisableOCSPEndpointCheck",
        "tlsDisableCertificateRevocationCheck",
    ),
];

/// The first needs the second (SOCKS5 Support specification, "MongoClient Configuration").
const NEEDS: &[(&str, &str)] = &[
    ("proxyPort", "proxyHost"),
    ("proxyUsername", "proxyHost"),
    ("proxyPassword", "proxyHost"),
    ("proxyUsername", "proxyPassword"),
    ("proxyPassword", "proxyUsername"),
];

/// Every contradiction. For `mongodb+srv://` it is asked again when the hosts and the TXT record's options are known.
pub(super) fn conflicts(string: &ConnectionString) -> Vec<UriError> {
    let options = &string.options;
    let given = |name: &str| options.given.contains(name);
    let is_true = |name: &str| options.boolean(name) == Some(true);
    let most_hosts = options.integer("srvMaxHosts").unwrap_or(0);
    let is_srv = string.srv_host.is_some();
    let mut found: Vec<String> = TLS
        .iter()
        .filter(|(one, other)| given(one) && given(other))
        .map(|(one, other)| format!("{one} and {other} cannot be given together"))
        .collect();
    let needing = NEEDS
        .iter()
        .filter(|(one, other)| options.get(one).is_some() && options.get(other).is_none());
    found.extend(needing.map(|(one, other)| format!("{one} needs {other}")));
    let rules = [
        (
            // Read and Write Concern specification, "Journal".
            options.get("w") == Some(&Value::Integer(0)) && is_true("journal"),
            "w=0 and journal=true contradict each other",
        ),
        (
            is_true("directConnection") && string.hosts.len() > 1,
            "directConnection=true takes one host only",
        ),
        (
            is_true("directConnection") && is_srv,
            "directConnection=true cannot be given with mongodb+srv://, which may lead to several hosts",
        ),
        // Load Balancer Support specification, "URI Validation".
        (
            is_true("loadBalanced") && string.hosts.len() > 1,
            "loadBalanced=true takes one host only",
        ),
        (
            is_true("loadBalanced") && given("replicaSet"),
            "loadBalanced=true and replicaSet cannot be given together",
        ),
        (
            is_true("loadBalanced") && is_true("directConnection"),
            "loadBalanced=true and directConnection=true cannot be given together",
        ),
        // Initial DNS Seedlist Discovery specification, "URI Validation".
        (
            most_hosts > 0 && given("replicaSet"),
            "srvMaxHosts and replicaSet cannot be given together",
        ),
        (
            most_hosts > 0 && is_true("loadBalanced"),
            "srvMaxHosts and loadBalanced=true cannot be given together",
        ),
        (
            !is_srv && given("srvMaxHosts"),
            "srvMaxHosts can be given with mongodb+srv:// only",
        ),
        (
            !is_srv && given("srvServiceName"),
            "srvServiceName can be given with mongodb+srv:// only",
        ),
    ];
    let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
    found.extend(broken.map(|(_, text)| text.to_owned()));
    found.into_iter().map(UriError::Conflict).collect()
}
