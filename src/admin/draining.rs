//! A drain: what `/status` tells of it, and what `POST /drain` does.

use super::status::Drain;
use crate::client::Shared;

/// How far it is; `None` if none is under way.
pub(super) fn observe(shared: &Shared) -> Option<Drain> {
    let (elapsed, deadline) = shared.drain.term()?;
    Some(Drain {
        stage: shared.drain.stage().as_str().to_owned(),
        elapsed_seconds: elapsed.as_secs_f64(),
        deadline_seconds: deadline.as_secs_f64(),
        clients_left: shared.admission.count(),
        clients_tied: shared.drain.tied(),
    })
}

/// Asks for one: whether that is news, and how many clients are connected; `None` where nobody would do it.
pub(super) fn ask(shared: &Shared) -> Option<(bool, usize)> {
    let changed = shared.drain.ask()?;
    Some((changed, shared.admission.count()))
}
