//! `mongodb+srv://`: the nodes that the DNS names, at the start and as they change.
//!
//! Sources: the Initial DNS Seedlist Discovery and the Polling SRV Records for mongos Discovery specifications.

use std::time::Duration;

use tokio::{sync::mpsc, time::sleep};

use super::{DnsError, Resolver, dns::SrvRecord};
use crate::topology::{Address, choose_hosts, shares_domain};

/// Records are looked at again no sooner, however short they may be kept (`rescanSRVIntervalMS` of the specification).
const SHORTEST_RESCAN: Duration = Duration::from_secs(60);

/// What the DNS is asked for, and how its answer is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrvOptions {
    /// The name after `mongodb+srv://`.
    pub host: String,
    /// `srvServiceName`
    pub service: String,
    /// `srvMaxHosts`; 0 is no bound.
    pub max_hosts: usize,
    /// How long the records may be kept that gave the seeds; nothing where they were not asked for yet.
    pub ttl: Duration,
    /// The shortest time between two looks: 60 s, but in tests.
    pub shortest_rescan: Duration,
}

impl SrvOptions {
    /// The defaults for this name.
    #[must_use]
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            service: "mongodb".to_owned(),
            max_hosts: 0,
            ttl: Duration::ZERO,
            shortest_rescan: SHORTEST_RESCAN,
        }
    }

    /// The name whose SRV records name the nodes.
    #[must_use]
    pub fn name(&self) -> String {
        format!("_{}._tcp.{}", self.service, self.host)
    }

    /// When to look again after records that may be kept for `ttl`.
    fn rescan_after(&self, ttl: Duration) -> Duration {
        ttl.max(self.shortest_rescan)
    }
}

/// Why a `mongodb+srv://` string leads to no nodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SrvError {
    /// The DNS did not tell.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// A record leads out of the domain, as a forged one would.
    #[error("the SRV records of {host} name {target}, which is not in the same domain")]
    Domain {
        /// The name that was asked for.
        host: String,
        /// The host that a record names.
        target: String,
    },
    /// A record names what is no host.
    #[error("the SRV records of {host} name {target} with port {port}, which is no address")]
    Address {
        /// The name that was asked for.
        host: String,
        /// The host that a record names.
        target: String,
        /// Its port.
        port: u16,
    },
    /// More than one TXT record.
    #[error("{0} has more than one TXT record, so that it cannot be told which one counts")]
    SeveralTxt(String),
}

impl SrvError {
    /// Whether asking again cannot help until somebody mends the string or the records.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Dns(error) => error.is_final(),
            _ => true,
        }
    }
}

/// What the DNS told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seedlist {
    /// The nodes, at most `srvMaxHosts`; at least one.
    pub hosts: Vec<Address>,
    /// The options of the TXT record.
    pub txt: Option<String>,
    /// How long the SRV records may be kept; the shortest of theirs.
    pub ttl: Duration,
}

/// Asks the DNS once for the nodes and the default options. Cancel safe.
///
/// # Errors
/// If there are no SRV records, one of them leads out of the domain, or there is more than one TXT record.
pub async fn discover(options: &SrvOptions, resolver: &Resolver) -> Result<Seedlist, SrvError> {
    let name = options.name();
    let (records, txt) = tokio::join!(resolver.srv(&name), resolver.txt(&options.host));
    let records = records?;
    let mut hosts = Vec::with_capacity(records.len());
    for record in &records {
        let address = verified(&options.host, record)?;
        if !hosts.contains(&address) {
            hosts.push(address);
        }
    }
    let mut txt = txt?;
    if txt.len() > 1 {
        return Err(SrvError::SeveralTxt(options.host.clone()));
    }
    Ok(Seedlist {
        hosts: choose_hosts(hosts, options.max_hosts, random),
        txt: txt.pop(),
        ttl: shortest(&records),
    })
}

/// Where a record leads, if it may be followed.
fn verified(host: &str, record: &SrvRecord) -> Result<Address, SrvError> {
    let target = record.target.strip_suffix('.').unwrap_or(&record.target);
    if !shares_domain(host, target) {
        return Err(SrvError::Domain {
            host: host.to_owned(),
            target: target.to_owned(),
        });
    }
    Address::new(target, record.port).map_err(|_| SrvError::Address {
        host: host.to_owned(),
        target: target.to_owned(),
        port: record.port,
    })
}

fn shortest(records: &[SrvRecord]) -> Duration {
    records.iter().map(|record| record.ttl).min().unwrap_or_default()
}

pub(super) fn random(bound: usize) -> usize {
    fastrand::usize(..bound)
}

/// Looks at the SRV records again and again, and sends the hosts that may be used. A failure changes nothing: it is
/// logged, and the next look comes after a heartbeat.
pub(super) async fn poll(
    options: SrvOptions,
    resolver: Resolver,
    heartbeat: Duration,
    follows: impl Fn() -> bool,
    found: mpsc::Sender<Vec<Address>>,
) {
    let mut pause = options.rescan_after(options.ttl);
    loop {
        sleep(pause).await;
        if !follows() {
            continue;
        }
        pause = match resolver.srv(&options.name()).await {
            Ok(records) => {
                let hosts = acceptable(&options.host, &records);
                match hosts.is_empty() {
                    true => heartbeat,
                    false if found.send(hosts).await.is_err() => return,
                    false => options.rescan_after(shortest(&records)),
                }
            }
            Err(error) => {
                tracing::warn!(
                    srv = options.name(),
                    "the SRV records could not be looked at again: {error}"
                );
                heartbeat
            }
        };
    }
}

fn acceptable(host: &str, records: &[SrvRecord]) -> Vec<Address> {
    let verified = records.iter().map(|record| verified(host, record));
    let told = verified.filter_map(|address| {
        address
            .inspect_err(|error| tracing::warn!("an SRV record is ignored: {error}"))
            .ok()
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_looked_at_again_when_they_expire_but_not_within_a_minute() {
        let options = SrvOptions::new("a.b.c");
        for (ttl, expected) in [(0, 60), (59, 60), (61, 61), (86_400, 86_400)] {
            assert_eq!(options.rescan_after(Duration::from_secs(ttl)).as_secs(), expected);
        }
        let record = |ttl| SrvRecord {
            target: "n.b.c".to_owned(),
            port: 1,
            ttl: Duration::from_secs(ttl),
        };
        assert_eq!(shortest(&[record(9), record(7), record(8)]).as_secs(), 7);
    }

    #[test]
    fn only_hosts_of_the_domain_are_kept() {
        let record = |target: &str, port| SrvRecord {
            target: target.to_owned(),
            port,
            ttl: Duration::ZERO,
        };
        let records = [
            record("N.b.c.", 1),
            record("n.evil.c", 1),
            record("n.b.c", 0),
            record("n.b.c", 2),
        ];
        let kept: Vec<_> = acceptable("a.b.c", &records)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(kept, ["n.b.c:1", "n.b.c:2"]);
        let refused = |record: &SrvRecord| verified("a.b.c", record).unwrap_err().to_string();
        assert!(refused(&records[1]).contains("not in the same domain"));
        assert!(refused(&records[2]).contains("no address"));
    }
}
