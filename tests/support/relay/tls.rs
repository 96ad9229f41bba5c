//! TLS through a relay: it ends at the relay on either side, which otherwise could not tell one message from another.

use tidegate::{
    net::Stream,
    tls::{Acceptor, Connector},
};
use tokio::net::TcpStream;

use super::{
    Shared,
    weather::{Exposed, Towards},
};

/// What the first record of TLS begins with (RFC 8446, section 5.1), and no message of MongoDB's does that is as short as a hello.
const HANDSHAKE: u8 = 0x16;
/// As whom targets are dialled.
const HOST: &str = "127.0.0.1";

/// What a relay shows to those who dial it, and whom it trusts as its target.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    pub(crate) acceptor: Acceptor,
    pub(crate) connector: Connector,
}

/// Both sides, with TLS if the client begins with it; `None` if one of them gives up.
///
/// The handshakes have to endure the weather, too: without TLS are only the members, which it may spare.
pub(super) async fn open(client: TcpStream, node: TcpStream, shared: &Shared) -> Option<[Stream; 2]> {
    let Some(ends) = &shared.tls else {
        return Some([client.into(), node.into()]);
    };
    let mut first = [0];
    if client.peek(&mut first).await.ok()? == 0 || first != [HANDSHAKE] {
        return Some([client.into(), node.into()]);
    }
    for towards in [Towards::Node, Towards::Client] {
        Exposed::new(shared.weather.subscribe(), towards, true)
            .endure()
            .await;
    }
    // A node that stands still has its clients wait as long.
    let node = ends.connector.connect(HOST, node).await.ok()?;
    let client = ends.acceptor.accept(client).await.ok()?;
    Some([client.into(), node.into()])
}
