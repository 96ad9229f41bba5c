//! Finds the nodes of a `mongodb+srv://` string, before anything else starts.
//!
//! What cannot come right by itself, such as a name that is not there, is an error at once. A DNS that does not answer is
//! waited for: in a cluster that starts as a whole it may come up later than the proxy.

use std::time::Duration;

use tokio::time::sleep;

use super::Error;
use crate::{
    config::Config,
    upstream::{self, Resolver, Seedlist, SrvError, SrvOptions, srv},
};

/// Between two attempts: from the first, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The configuration with the nodes that the DNS names; a `mongodb://` one as it is. Waits as long as no name server
/// answers. Cancel safe.
///
/// # Errors
/// If the DNS answers, and its answer cannot be used.
pub async fn find_nodes(config: &Config) -> Result<Config, Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        match look_up(config).await {
            Ok(None) => return Ok(config.clone()),
            Ok(Some(found)) => return with_seedlist(config, found),
            Err(error) if error.is_final() => return Err(Error::Srv(error)),
            Err(error) => {
                tracing::warn!("the nodes are not known yet, trying again in {pause:?}: {error}");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Asks the DNS once; `None` where there is nothing to ask for.
pub(super) async fn look_up(config: &Config) -> Result<Option<Seedlist>, SrvError> {
    let Some(options) = &config.upstream.srv else {
        return Ok(None);
    };
    let resolver = Resolver::new(config.upstream.nameserver);
    srv::discover(options, &resolver).await.map(Some)
}

/// Takes in what the DNS told.
pub(super) fn with_seedlist(config: &Config, found: Seedlist) -> Result<Config, Error> {
    config.with_seedlist(found).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Error::Uri(errors.join("; "))
    })
}

/// What the DNS told, a line for each kind of record.
pub(super) fn seedlist_lines(options: &upstream::Options, found: &Seedlist) -> Vec<String> {
    let name = options.srv.as_ref().map(SrvOptions::name).unwrap_or_default();
    let hosts: Vec<_> = found.hosts.iter().map(ToString::to_string).collect();
    let srv = format!("srv {name}: {}, for {:?}", hosts.join(", "), found.ttl);
    let txt = found.txt.iter().map(|txt| format!("txt {txt}"));
    std::iter::once(srv).chain(txt).collect()
}
