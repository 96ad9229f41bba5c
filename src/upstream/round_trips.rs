//! Measuring round trips on a connection of their own, as streamed answers carry no timing.
//!
//! Only while the node streams: otherwise its monitor measures its own checks. A failure here tells nothing of the node.
//!
//! Source: "Measuring RTT" of the Server Monitoring specification.

use std::{sync::Arc, time::Instant};

use tokio::time::sleep;

use super::{
    Options,
    connect::{connect, hello_document},
    failure::Failure,
    monitor::{Watch, within},
};

/// Measures for as long as it is run.
pub(super) async fn measure(watch: Arc<Watch>, options: Arc<Options>) {
    loop {
        watch.until_streams().await;
        if let Err(failure) = measure_on_one(&watch, &options).await {
            tracing::trace!(node = %watch.address, error = %failure, "round trip not measured");
        }
        sleep(options.heartbeat).await;
    }
}

async fn measure_on_one(watch: &Watch, options: &Options) -> Result<(), Failure> {
    let mut opened = connect(&watch.address, options).await?;
    let hello = hello_document(opened.hello.get_bool("helloOk").unwrap_or(false), None);
    while watch.streams() {
        let asked = Instant::now();
        within(options.connect_timeout, opened.connection.run(&hello)).await?;
        watch.record(asked.elapsed());
        sleep(options.heartbeat).await;
    }
    Ok(())
}
