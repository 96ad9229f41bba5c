//! The HTTP/1 server: a bound on connections, and on the time that each may take.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    View,
    gather::Observer,
    live,
    places::{self, Place, Places},
    respond::respond,
    routes::Caller,
};
use crate::shutdown::Shutdown;

/// Most connections at once; more wait in the kernel until one ends, but for those of an address that has its share.
const MAX_CONNECTIONS: usize = places::MOST;
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

/// Serves requests until it is cancelled, which ends all connections at once, or until `doors` close: then answers in flight are finished.
pub async fn serve(listener: TcpListener, view: Arc<View>, doors: Shutdown) {
    serve_in(listener, view, Places::default(), doors).await;
}

async fn serve_in(listener: TcpListener, view: Arc<View>, places: Places, doors: Shutdown) {
    let observer = Arc::new(Observer::new(view));
    observer.look();
    let mut changes = observer.changes();
    let mut connections = JoinSet::new();
    let mut follow = pin!(live::follow(Arc::clone(&observer)));
    loop {
        tokio::select! {
            () = &mut follow => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => match places.take(peer.ip()) {
                    Some(place) => drop(connections.spawn(attend(stream, peer, place, Arc::clone(&observer)))),
                    None => tracing::debug!(%peer, "a connection to the admin endpoint was closed: its address has its share of them"),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the admin endpoint");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            Ok(()) = changes.changed() => observer.look(),
            () = doors.requested() => break,
        }
    }
    drop(listener);
    observer.live().close();
    let _ = timeout(LAST_ANSWER, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

async fn attend(stream: TcpStream, address: SocketAddr, _place: Place, observer: Arc<Observer>) {
    let mut caller = Caller {
        address,
        has_certificate: false,
        until: Instant::now() + MAX_AGE,
    };
    let Some(tls) = observer.tls() else {
        return converse(stream, caller, observer).await;
    };
    match timeout(HEADER_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            // One that is not valid has ended the handshake.
            caller.has_certificate = stream.peer_subject().is_some();
            converse(stream, caller, observer).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake with the admin endpoint failed"),
        Err(_) => tracing::debug!("a TLS handshake with the admin endpoint took too long"),
    }
}

/// Answers the requests of one connection, in its time.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, caller: Caller, observer: Arc<Observer>) {
    let service = service_fn(|request: Request<Incoming>| {
        let observer = Arc::clone(&observer);
        async move { Ok::<_, Infallible>(respond(&request, caller, &observer).await) }
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
    use std::net::IpAddr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpSocket,
    };

    use super::*;
    use crate::{
        admin::{Access, Token, testing},
        audit::Audit,
        tls::{
            Acceptor, AcceptorOptions, Connector, ConnectorOptions,
            testing::{Authority, Time},
        },
    };

    /// The endpoint of a proxy that knows no node. It ends with the test's runtime.
    async fn start() -> SocketAddr {
        start_for(Access::default(), None, Audit::off()).await
    }

    async fn start_for(access: Access, tls: Option<Acceptor>, audit: Audit) -> SocketAddr {
        start_in(Places::default(), access, tls, audit).await
    }

    async fn start_in(places: Places, access: Access, tls: Option<Acceptor>, audit: Audit) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let view = testing::view(address, access, tls, audit);
        tokio::spawn(serve_in(listener, view, places, Shutdown::new()));
        address
    }

    async fn ask(stream: &mut TcpStream, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
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
            ("/topology", "200", "\"nodes\": []"),
            ("/topology?node=a:1", "404", "there is no node \\\"a:1\\\""),
            ("/topology?nodes=a", "400", "there are: node"),
            ("/status?verbose", "200", "\"nodes\": []"),
        ] {
            let answer = ask(&mut TcpStream::connect(address).await.unwrap(), &get(path)).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {code} ")) && answer.contains(text),
                "{path}: {answer}"
            );
        }
    }

    fn request(method: &str, path: &str, headers: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n")
    }

    #[tokio::test]
    async fn each_path_demands_its_right_and_the_audit_log_tells_of_refusals_and_actions() {
        const FULL: &str = "the-token-for-everything";
        const READING: &str = "the-token-for-reading";
        let token = |text: &str| Some(Token::new(text.to_owned()).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit");
        let audit = Audit::start(&crate::audit::Target::File(file.clone())).unwrap();
        let access = Access {
            token: token(FULL),
            read_token: token(READING),
            by_certificate: false,
        };
        let address = start_for(access, None, audit.clone()).await;
        let (full, reading) = (
            format!("Authorization: Bearer {FULL}\r\n"),
            format!("Authorization: Bearer {READING}\r\n"),
        );
        for (method, path, none, read, act) in [
            ("GET", "/livez", "200", "200", "200"),
            ("GET", "/readyz", "503", "503", "503"),
            ("HEAD", "/livez", "200", "200", "200"),
            ("GET", "/", "401", "200", "200"),
            ("GET", "/status", "401", "200", "200"),
            ("GET", "/metrics", "401", "200", "200"),
            ("GET", "/nothing", "401", "404", "404"),
            ("POST", "/nothing", "401", "403", "404"),
            ("POST", "/status", "401", "403", "405"),
            ("POST", "/livez", "401", "403", "405"),
            ("GET", "/pause", "401", "403", "405"),
            ("POST", "/resume", "401", "403", "200"),
        ] {
            for (headers, code) in [("", none), (&reading, read), (&full, act)] {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let answer = ask(&mut stream, &request(method, path, headers)).await;
                assert!(
                    answer.starts_with(&format!("HTTP/1.1 {code} ")),
                    "{method} {path} {headers}: {answer}"
                );
                let asks = answer.to_lowercase().contains("www-authenticate: bearer");
                assert_eq!(asks, code == "401", "{answer}");
            }
        }
        assert!(audit.close(Duration::from_secs(10)).await);
        let told = std::fs::read_to_string(&file).unwrap();
        assert_eq!(told.matches("\"admin action\"").count(), 1, "{told}");
        assert_eq!(told.matches("\"no token\"").count(), 9, "{told}");
        assert_eq!(told.matches("\"may only read\"").count(), 5, "{told}");
        assert!(!told.contains(FULL) && !told.contains(READING));
    }

    #[tokio::test]
    async fn by_tls_a_certificate_gives_all_rights_and_probes_need_none() {
        let authority = Authority::new();
        let options = AcceptorOptions {
            client_ca: Some(authority.ca()),
            ..AcceptorOptions::new(authority.server(), None)
        };
        let access = Access {
            by_certificate: true,
            ..Access::default()
        };
        let address = start_for(access, Some(Acceptor::new(options).unwrap()), Audit::off()).await;
        let client = Some(authority.client("operator", Time::Now));
        for (certificate, path, method, code) in [
            (&None, "/livez", "GET", "200"),
            (&None, "/status", "GET", "401"),
            (&None, "/resume", "POST", "401"),
            (&client, "/status", "GET", "200"),
            (&client, "/resume", "POST", "200"),
        ] {
            let options = ConnectorOptions {
                ca: Some(authority.ca()),
                certificate_key: certificate.clone(),
                ..ConnectorOptions::default()
            };
            let connector = Connector::new(options).unwrap();
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = connector.connect("localhost", stream).await.unwrap();
            stream
                .write_all(request(method, path, "").as_bytes())
                .await
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {code} ")),
                "{method} {path}: {answer}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_tokens_is_slowed_down() {
        let access = Access {
            token: Some(Token::new("the-token-for-everything".to_owned()).unwrap()),
            ..Access::default()
        };
        let address = start_for(access, None, Audit::off()).await;
        let guess = request("GET", "/status", "Authorization: Bearer a-token-of-nobody\r\n");
        let mut took = Vec::new();
        for _ in 0..6 {
            let begun = tokio::time::Instant::now();
            let answer = ask(&mut TcpStream::connect(address).await.unwrap(), &guess).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
            took.push(begun.elapsed() >= Duration::from_millis(100));
        }
        assert_eq!(took, [false, false, false, false, true, true]);
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

    #[tokio::test]
    async fn one_stranger_cannot_keep_the_operator_out() {
        // Another loopback address plays another host.
        let places = Places::new(|address| address == IpAddr::from([127, 0, 0, 1]));
        let address = start_in(places, Access::default(), None, Audit::off()).await;
        let strange = async || {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let mut stream = socket.connect(address).await.unwrap();
            let asked = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let answered = asked.is_ok() && matches!(stream.read(&mut [0; 512]).await, Ok(1..));
            answered.then_some(stream)
        };
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS / 4 {
            held.push(strange().await.expect("it has its share"));
        }
        assert!(strange().await.is_none(), "more than its share");
        let answer = ask(&mut TcpStream::connect(address).await.unwrap(), &get("/livez")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        held.pop();
        let again = timeout(Duration::from_secs(10), async {
            while strange().await.is_none() {
                tokio::task::yield_now().await;
            }
        });
        again.await.expect("a place that was given up is free");
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
