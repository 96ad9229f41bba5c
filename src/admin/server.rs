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
        async move { Ok::<_, Infallible>(respond(&request, &observer).await) }
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        audit::Audit,
        client::{Limits, ListenerOptions, Shared},
        failover,
        pool::Pool,
        shutdown::Shutdown,
        upstream::{Cluster, Options},
    };

    /// The endpoint of a proxy that knows no node. It ends with the test's runtime.
    async fn start() -> SocketAddr {
        let shutdown = Shutdown::new();
        let cluster = Cluster::start(Options::default(), &shutdown, {
            let shutdown = shutdown.clone();
            move |address| {
                let upstream = Arc::new(Options::default());
                Pool::new(
                    address.clone(),
                    crate::pool::Options::default(),
                    upstream,
                    Arc::new([]),
                    &shutdown,
                )
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let view = View {
            shared: Arc::new(Shared::new(
                cluster,
                Limits::default(),
                failover::Options::default(),
                Audit::off(),
                1,
            )),
            cores: Arc::new([]),
            listeners: vec![Arc::new(ListenerOptions::at(address))],
            upstream: crate::upstream::Options::default(),
            certificates: Arc::default(),
        };
        tokio::spawn(serve(listener, Arc::new(view)));
        address
    }

    async fn ask(stream: &mut TcpStream, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    }

    #[tokio::test]
    async fn a_proxy_without_nodes_lives_but_is_not_ready() {
        let address = start().await;
        for (path, code, text) in [
            ("/livez", "200", "ok"),
            (
                "/readyz?verbose",
                "503",
                "no node that holds data has answered yet",
            ),
            ("/status", "200", "\"nodes\": []"),
            ("/metrics", "200", "tidegate_ready 0"),
            ("/", "200", "\"/metrics\""),
            ("/statusx", "404", "\"/status\""),
        ] {
            let answer = ask(&mut TcpStream::connect(address).await.unwrap(), &get(path)).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {code} ")) && answer.contains(text),
                "{path}: {answer}"
            );
        }
    }

    #[tokio::test]
    async fn connections_beyond_the_bound_wait_for_their_turn() {
        let address = start().await;
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            // An answer proves that the connection was accepted; it stays open.
            assert!(stream.read(&mut [0; 512]).await.unwrap() > 0);
            held.push(stream);
        }
        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(get("/livez").as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        let early = timeout(Duration::from_millis(200), next.read_exact(&mut answer)).await;
        assert!(early.is_err(), "answered beyond the bound");
        held.pop();
        next.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_closed() {
        let address = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost").await.unwrap();
        let mut rest = Vec::new();
        let limit = HEADER_TIMEOUT + MAX_AGE + LAST_ANSWER;
        let read = timeout(limit * 2, stream.read_to_end(&mut rest))
            .await
            .expect("it stays open");
        assert!(read.is_err() || !rest.starts_with(b"HTTP/1.1 200"));
    }
}
