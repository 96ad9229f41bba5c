//! The paths that do something. Each writes to the audit log what it did.

use hyper::StatusCode;
use serde_json::json;

use super::{
    answer::{self, Answer, problem},
    draining,
    reloading::Outcome,
    routes::Call,
};

pub(super) fn pause(call: &Call<'_>) -> Answer {
    set_paused(call, true)
}

pub(super) fn resume(call: &Call<'_>) -> Answer {
    set_paused(call, false)
}

fn set_paused(call: &Call<'_>, paused: bool) -> Answer {
    let changed = call.observer.pause(paused);
    call.report(changed);
    answer::json(StatusCode::OK, &json!({ "paused": paused, "changed": changed }))
}

pub(super) fn drain(call: &Call<'_>) -> Answer {
    let Some((changed, clients)) = draining::ask(call.observer.shared()) else {
        return problem(
            StatusCode::CONFLICT,
            "this proxy cannot be drained: it ends with the sandbox that it belongs to",
        );
    };
    call.report(changed);
    answer::json(
        StatusCode::OK,
        &json!({ "draining": true, "changed": changed, "clients": clients }),
    )
}

pub(super) async fn reload(call: &Call<'_>) -> Answer {
    let Some(reloaded) = call.observer.view.reloading.ask().await else {
        return problem(
            StatusCode::CONFLICT,
            "this proxy has no configuration to reload: it belongs to a sandbox, or is about to end",
        );
    };
    call.report(reloaded.result == Outcome::Applied);
    let code = match reloaded.result {
        Outcome::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::Applied | Outcome::Unchanged => StatusCode::OK,
    };
    answer::json(code, &reloaded)
}
