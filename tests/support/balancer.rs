//! A TCP load balancer: each connection goes to the next of its targets.
//!
//! Runs on a thread of its own and ends, with all its connections, when dropped.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    thread::JoinHandle,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

/// One address in front of several.
#[derive(Debug)]
pub(crate) struct Balancer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Balancer {
    /// Listens on a free port and deals connections to `targets` in turns.
    pub(crate) fn start(targets: Vec<SocketAddr>) -> Self {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            // Leaving the runtime ends the tasks, and with them the connections.
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, targets) => (),
                    _ = stopped => (),
                }
            });
        });
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The URI for drivers.
    pub(crate) fn uri(&self) -> String {
        format!("mongodb://{}/", self.address)
    }
}

async fn serve(listener: StdListener, targets: Vec<SocketAddr>) {
    let listener = TcpListener::from_std(listener).unwrap();
    for target in targets.iter().cycle() {
        let Ok((mut client, _)) = listener.accept().await else {
            return;
        };
        let target = *target;
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect(target).await else {
                return;
            };
            // Neither shall wait for more bytes to send along.
            let _ = client.set_nodelay(true).and(server.set_nodelay(true));
            let _ = copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
