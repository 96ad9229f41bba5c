//! The HTTP/1 server: a bound on connections, and on the time that each may take.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{View, gather::Observer, respond::respond};

/// Most connections at once; more wait in the kernel until one ends.
const MAX_CONNECTIONS: usize = 64;
/// How long the headers of a request may take, the pause before it included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// After this a connection takes no further request, so that nobody holds a place for ever.
const MAX_AGE: Duration = Duration::from_secs(60);
/// How long the answer in flight may take then.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// Headers and the start of a body; nothing that is asked here is longer.
const MAX_BUFFER: usize = 16 << 10;
/// The pause after a failed accept, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves requests until it is cancelled, which ends all connections at once.
pub async fn serve(listener: TcpListener, view: Arc<View>) {
    let observer = Arc::new(Observer::new(view));
    observer.look();
    let mut changes = observer.changes();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(connections.spawn(attend(stream, Arc::clone(&observer)))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the admin endpoint");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            Ok(()) = changes.changed() => observer.look(),
        }
    }
}

async fn attend(stream: TcpStream, observer: Arc<Observer>) {
    let service = service_fn(|request: Request<Incoming>| {
        let observer = Arc::clone(&observer);
        async move { Ok::<_, Infallible>(respond(request.method(), request.uri().path(), &observer).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = match timeout(MAX_AGE, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the admin endpoint broke");
    }
}
