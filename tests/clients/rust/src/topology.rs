//! What the driver discovers, and that nothing depends on a connection.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::TryStreamExt;
use mongodb::{
    bson::{Bson, Document, doc},
    event::{EventHandler, sdam::SdamEvent},
    options::{ReadPreference, SelectionCriteria},
};

use crate::harness::{Context, Outcome, connect, equal};

/// The kinds of the topology and of its servers, once all are known: compared with what the presentation says.
pub(crate) async fn the_topology(ctx: &Context) -> Outcome {
    let newest = Arc::new(Mutex::new((String::new(), Vec::<String>::new())));
    let writer = newest.clone();
    let (client, _) = connect(&ctx.uri, |options| {
        options.sdam_event_handler = Some(EventHandler::callback(move |event| {
            if let SdamEvent::TopologyDescriptionChanged(event) = event {
                let seen = event.new_description;
                let servers = seen.servers();
                let mut kinds: Vec<String> = servers
                    .values()
                    .map(|one| one.server_type().to_string())
                    .collect();
                kinds.sort();
                *writer.lock().unwrap() = (format!("{:?}", seen.topology_type()), kinds);
            }
        }));
    })
    .await?;
    let things = client.database(&ctx.database).collection::<Document>("things");
    things.find_one(doc! {}).await?;
    for _ in 0..1000 {
        let (kind, servers) = newest.lock().unwrap().clone();
        if !servers.is_empty() && !servers.iter().any(|one| one == "Unknown") {
            return Ok(Bson::Array(vec![kind.into(), servers.into()]));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("never complete: {newest:?}").into())
}

pub(crate) async fn cursors_and_transactions_over_ever_new_connections(ctx: &Context) -> Outcome {
    ctx.seed("anew", 60, &doc! {}).await?;
    // No connection is idle for so short a time: each command takes a new one, except where the driver itself keeps one.
    let (client, log) = ctx.connect("maxIdleTimeMS=1").await?;
    let things = client.database(&ctx.database).collection::<Document>("anew");
    let pause = || tokio::time::sleep(Duration::from_millis(3));
    for n in 0..12 {
        let preference = match n % 3 {
            2 => ReadPreference::Secondary { options: None },
            _ => ReadPreference::Primary,
        };
        let mut cursor = things
            .find(doc! {})
            .sort(doc! { "_id": 1 })
            .batch_size(15)
            .selection_criteria(SelectionCriteria::ReadPreference(preference))
            .await?;
        for id in 0..60 {
            let one = cursor.try_next().await?.ok_or("the cursor ended early")?;
            equal(one.get_i32("_id")?, id)?;
            if id % 15 == 14 {
                pause().await;
            }
        }
        equal(cursor.try_next().await?, None)?;
    }
    let mut session = client.start_session().await?;
    session.start_transaction().await?;
    for n in 100..106 {
        things.insert_one(doc! { "_id": n }).session(&mut session).await?;
        pause().await;
    }
    let inside = things.count_documents(doc! {}).session(&mut session).await?;
    session.commit_transaction().await?;
    equal((inside, things.count_documents(doc! {}).await?), (66, 66))?;
    let names = log.lock().unwrap().names();
    Ok(names.into())
}
