//! `/events`: server-sent events (HTML Living Standard, "Server-sent events").

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame},
    header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{sleep_until, timeout},
};

use crate::admin::{
    answer::{Answer, problem, protect},
    gather::Observer,
    routes::Call,
};

/// The number of the event that a listener has seen last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How long a listener may take for what it is sent; a slower one is dropped.
const SLOWEST: Duration = Duration::from_secs(10);
/// A stream ends so long before its connection must; the listener opens another.
const MARGIN: Duration = Duration::from_secs(2);

/// Answers with a stream that lasts for as long as its connection may.
pub(in crate::admin) fn open(call: &Call<'_>) -> Answer {
    let observer = Arc::clone(call.observer);
    let Ok(place) = Arc::clone(&observer.live().places).try_acquire_owned() else {
        let problem_is = "as many listen already as may: close another page that shows this";
        return problem(StatusCode::SERVICE_UNAVAILABLE, problem_is);
    };
    let seen = call.headers.get(LAST_EVENT_ID);
    let seen = seen.and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
    let (sender, receiver) = mpsc::channel(2);
    let until = call.caller.until - MARGIN;
    tokio::spawn(tell(observer, sender, seen, until, place));
    let mut response = Response::new(Messages(receiver).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    protect(headers);
    // The next stream needs a connection that is young: on this one it would end at once, time and again.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    // Some proxies hold answers back until they are whole.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One message of the stream.
pub(super) fn message(kind: &str, id: Option<u64>, data: &str) -> Bytes {
    let id = id.map_or(String::new(), |id| format!("id: {id}\n"));
    // JSON has no line breaks outside of its strings, where they are escaped.
    format!("{id}event: {kind}\ndata: {data}\n\n").into()
}

/// Tells a listener what happens until it is gone, too slow, or at the end of its time.
async fn tell(
    observer: Arc<Observer>,
    sender: mpsc::Sender<Bytes>,
    mut seen: u64,
    until: tokio::time::Instant,
    _place: OwnedSemaphorePermit,
) {
    let live = observer.live();
    let (mut newest, mut picture) = (live.newest.subscribe(), live.picture.subscribe());
    let mut closing = live.closing.subscribe();
    if seen > *newest.borrow_and_update() {
        // It has seen another process.
        seen = 0;
    }
    // The last picture may be of long ago.
    picture.mark_unchanged();
    let mut next = Some(Bytes::from_static(b"retry: 1000\n\n"));
    loop {
        let mut messages: Vec<Bytes> = next.take().into_iter().collect();
        for happened in live.history().after(seen) {
            seen = happened.id;
            if let Ok(json) = serde_json::to_string(happened) {
                messages.push(message("happened", Some(seen), &json));
            }
        }
        for message in messages {
            if !matches!(timeout(SLOWEST, sender.send(message)).await, Ok(Ok(()))) {
                return;
            }
        }
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return },
            changed = picture.changed() => match changed {
                Ok(()) => next = Some(picture.borrow_and_update().clone()),
                Err(_) => return,
            },
            _ = closing.wait_for(|closing| *closing) => return,
            () = sender.closed() => return,
            () = sleep_until(until) => return,
        }
    }
}

/// The body of the answer.
struct Messages(mpsc::Receiver<Bytes>);

impl Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let message = self.get_mut().0.poll_recv(cx);
        message.map(|message| message.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{
        admin::{Access, live, testing},
        audit::Audit,
    };

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_dropped_and_its_place_is_free() {
        let view = testing::view(([127, 0, 0, 1], 0).into(), Access::default(), None, Audit::off());
        let observer = Arc::new(Observer::new(view));
        let places = Arc::clone(&observer.live().places);
        let free = places.available_permits();
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let (sender, _unread) = mpsc::channel(2);
        let begun = Instant::now();
        let told = tokio::spawn(tell(
            Arc::clone(&observer),
            sender,
            0,
            begun + SLOWEST * 10,
            place,
        ));
        for _ in 0..2 * SLOWEST.as_secs() {
            live::look(&observer);
            sleep(Duration::from_secs(1)).await;
        }
        assert!(told.is_finished());
        assert_eq!(places.available_permits(), free);
    }
}
