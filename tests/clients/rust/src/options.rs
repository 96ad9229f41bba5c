//! The versioned API, compression, and options of the URI.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use mongodb::{
    bson::{Bson, Document, doc},
    options::{Acknowledgment, ServerApi, ServerApiVersion, WriteConcern},
};

use crate::harness::{Context, Outcome, connect, equal, refused};

pub(crate) async fn the_versioned_api_strict_with_deprecation_errors(ctx: &Context) -> Outcome {
    ctx.seed("versioned", 50, &doc! {}).await?;
    let api = ServerApi::builder()
        .version(ServerApiVersion::V1)
        .strict(true)
        .deprecation_errors(true)
        .build();
    let (client, log) = connect(&ctx.uri, |options| options.server_api = Some(api)).await?;
    let db = client.database(&ctx.database);
    let things = db.collection::<Document>("versioned");
    let found: Vec<Document> = things.find(doc! {}).batch_size(7).await?.try_collect().await?;
    equal(found.len(), 50)?;
    things.insert_one(doc! { "_id": 99 }).await?;
    let mut session = client.start_session().await?;
    let remove = async |session: &mut mongodb::ClientSession| {
        things.delete_one(doc! { "_id": 99 }).session(session).await
    };
    session.start_transaction().and_run2(remove).await?;
    let mut stream = things.watch().max_await_time(Duration::from_millis(100)).await?;
    things.insert_one(doc! { "_id": 98 }).await?;
    stream.try_next().await?.ok_or("the stream ended")?;
    let versions = log
        .lock()
        .unwrap()
        .commands
        .iter()
        .filter(|(_, sent)| sent.contains_key("apiVersion"))
        .count();
    let unknown = ctx.db().run_command(doc! { "ping": 1, "apiVersion": "2" }).await;
    Ok(Bson::Array(vec![
        refused(things.distinct("_id", doc! {}).await, 323)?,
        refused(db.run_command(doc! { "collStats": "versioned" }).await, 323)?,
        refused(unknown, 322)?,
        refused(
            ctx.db().run_command(doc! { "ping": 1, "apiStrict": true }).await,
            0,
        )?,
        (versions > 10).into(),
    ]))
}

pub(crate) async fn compressors(ctx: &Context) -> Outcome {
    let mut told = Vec::new();
    for compressors in [
        "snappy",
        "zlib",
        "zlib&zlibCompressionLevel=9",
        "zstd",
        "zstd,snappy,zlib",
    ] {
        let (client, _) = ctx.connect(&format!("compressors={compressors}")).await?;
        let things = client.database(&ctx.database).collection::<Document>(compressors);
        let text = "tide ".repeat(50);
        let documents: Vec<Document> = (0..200).map(|n| doc! { "_id": n, "text": &text }).collect();
        things.insert_many(&documents).await?;
        let sorted = things
            .find(doc! {})
            .sort(doc! { "_id": 1 })
            .batch_size(60)
            .await?;
        equal(sorted.try_collect::<Vec<_>>().await?, documents)?;
        things
            .update_many(doc! {}, doc! { "$set": { "big": "y".repeat(3000) } })
            .await?;
        let sum = [doc! { "$group": { "_id": null, "n": { "$sum": { "$strLenCP": "$big" } } } }];
        told.push(Bson::from(
            things
                .aggregate(sum)
                .await?
                .try_collect::<Vec<Document>>()
                .await?,
        ));
        told.push(refused(things.insert_one(doc! { "_id": 1 }).await, 11000)?);
    }
    Ok(told.into())
}

const URI_OPTIONS: &[&str] = &[
    "retryWrites=false&retryReads=false",
    "w=1",
    "w=majority&journal=true&wTimeoutMS=20000",
    "readConcernLevel=majority",
    "readPreference=secondary",
    "readPreference=secondaryPreferred&maxStalenessSeconds=120",
    "readPreference=nearest&readPreferenceTags=dc:west&readPreferenceTags=",
    "appName=harbour&maxPoolSize=2&minPoolSize=1&maxIdleTimeMS=5000",
    "heartbeatFrequencyMS=1000&connectTimeoutMS=5000&maxConnecting=1",
    "serverMonitoringMode=poll",
];

pub(crate) async fn options_of_the_uri(ctx: &Context) -> Outcome {
    let mut told = Vec::new();
    for (option, n) in URI_OPTIONS.iter().zip(0..) {
        let name = format!("uri_{n}");
        let seeded = ctx.seed(&name, 20, &doc! {}).await?;
        // What w: 3 acknowledged is majority committed only a moment later.
        let majority = WriteConcern::builder().w(Acknowledgment::Majority).build();
        let settle = seeded.update_one(doc! { "_id": 0 }, doc! { "$set": { "settled": true } });
        settle.write_concern(majority).await?;
        let (client, log) = ctx.connect(option).await?;
        let things = client.database(&ctx.database).collection::<Document>(&name);
        let found = things.find(doc! { "_id": { "$lt": 20 } }).batch_size(6).await?;
        equal(found.try_collect::<Vec<Document>>().await?.len(), 20)?;
        things.insert_one(doc! { "_id": 100 }).await?;
        // What was not acknowledged may still be on its way.
        let deadline = Instant::now() + Duration::from_secs(10);
        while seeded.find_one(doc! { "_id": 100 }).await?.is_none() {
            equal((option, Instant::now() < deadline), (option, true))?;
        }
        let log = log.lock().unwrap();
        let sent = |name: &str| {
            log.commands
                .iter()
                .find(|(command, _)| command == name)
                .map(|(_, sent)| sent.clone())
        };
        let (find, insert) = (
            sent("find").unwrap_or_default(),
            sent("insert").unwrap_or_default(),
        );
        told.push(doc! {
            "option": *option,
            "writeConcern": insert.get("writeConcern").cloned(),
            "retried": insert.contains_key("txnNumber"),
            "readConcern": find.get("readConcern").cloned(),
            "names": log.names(),
        });
    }
    Ok(told.into())
}

pub(crate) async fn direct_connection(ctx: &Context) -> Outcome {
    let (client, log) = connect(&ctx.single, |_| ()).await?;
    let things = client.database(&ctx.database).collection::<Document>("single");
    things.insert_many((0..50).map(|n| doc! { "_id": n })).await?;
    let found: Vec<Document> = things.find(doc! {}).batch_size(9).await?.try_collect().await?;
    let mut session = client.start_session().await?;
    session.start_transaction().await?;
    things.delete_one(doc! { "_id": 1 }).session(&mut session).await?;
    session.commit_transaction().await?;
    equal((found.len(), things.count_documents(doc! {}).await?), (50, 49))?;
    let names = log.lock().unwrap().names();
    Ok(names.into())
}
