//! Cursors and change streams.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, future::try_join_all};
use mongodb::{
    bson::{Bson, Document, doc},
    change_stream::event::ChangeStreamEvent,
    options::{CursorType, FullDocumentType, ReadPreference, SelectionCriteria},
};

use crate::harness::{Context, Failure, Outcome, equal, refused};

const HASTY: Duration = Duration::from_millis(100);
type Event = ChangeStreamEvent<Document>;

fn ids(documents: &[Document]) -> Vec<i32> {
    documents
        .iter()
        .map(|one| one.get_i32("_id").unwrap_or(-1))
        .collect()
}

fn text() -> Document {
    doc! { "text": "x".repeat(50) }
}

pub(crate) async fn cursors_over_many_batches(ctx: &Context) -> Outcome {
    ctx.seed("batches", 1000, &text()).await?;
    let (client, log) = ctx.connect("").await?;
    let things = client.database(&ctx.database).collection::<Document>("batches");
    let found: Vec<Document> = things
        .find(doc! {})
        .sort(doc! { "_id": 1 })
        .batch_size(90)
        .await?
        .try_collect()
        .await?;
    equal(ids(&found), (0..1000).collect())?;
    let sorted = things
        .aggregate([doc! { "$sort": { "_id": -1 } }])
        .batch_size(90)
        .await?;
    let backwards: Vec<Document> = sorted.try_collect().await?;
    equal(ids(&backwards), (0..1000).rev().collect())?;
    let limited: Vec<Document> = things
        .find(doc! {})
        .limit(250)
        .batch_size(100)
        .await?
        .try_collect()
        .await?;
    let skipped: Vec<Document> = things
        .find(doc! {})
        .skip(950)
        .batch_size(20)
        .await?
        .try_collect()
        .await?;
    equal((limited.len(), skipped.len()), (250, 50))?;
    let names = log.lock().unwrap().names();
    Ok(names.into())
}

pub(crate) async fn cursors_on_every_kind_of_node(ctx: &Context) -> Outcome {
    let things = ctx.seed("kinds", 300, &text()).await?;
    let modes = [
        ReadPreference::Primary,
        ReadPreference::PrimaryPreferred { options: None },
        ReadPreference::Secondary { options: None },
        ReadPreference::SecondaryPreferred { options: None },
        ReadPreference::Nearest { options: None },
    ];
    let mut cursors = Vec::new();
    for mode in modes {
        let criteria = SelectionCriteria::ReadPreference(mode);
        let open = things
            .find(doc! {})
            .sort(doc! { "_id": 1 })
            .batch_size(20)
            .selection_criteria(criteria);
        cursors.push((open.await?, 0));
    }
    // In turns, so that all are open at once.
    for n in 0..300 {
        for (cursor, seen) in &mut cursors {
            let one = cursor.try_next().await?.ok_or("the cursor ended early")?;
            equal(one.get_i32("_id")?, n)?;
            *seen += 1;
        }
    }
    // And beside each other, over several connections.
    let whole = |n: u32| {
        let open = things.find(doc! {}).sort(doc! { "_id": 1 }).batch_size(7 + n);
        async move { open.await?.try_collect::<Vec<Document>>().await }
    };
    for found in try_join_all((0..8).map(whole)).await? {
        equal(ids(&found), (0..300).collect())?;
    }
    Ok(cursors.iter().map(|(_, seen)| *seen).collect::<Vec<i32>>().into())
}

pub(crate) async fn a_cursor_dropped_early_is_killed(ctx: &Context) -> Outcome {
    ctx.seed("closed", 100, &doc! {}).await?;
    let (client, log) = ctx.connect("").await?;
    let db = client.database(&ctx.database);
    let mut cursor = db
        .collection::<Document>("closed")
        .find(doc! {})
        .batch_size(10)
        .await?;
    cursor.try_next().await?;
    let id = log
        .lock()
        .unwrap()
        .last_reply("find")
        .get_document("cursor")?
        .get_i64("id")?;
    drop(cursor);
    let deadline = Instant::now() + Duration::from_secs(10);
    let killed = loop {
        let reply = log.lock().unwrap().last_reply("killCursors");
        if !reply.is_empty() || Instant::now() > deadline {
            break reply;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    equal(killed.get_array("cursorsKilled")?, &vec![Bson::Int64(id)])?;
    let gone = db
        .run_command(doc! { "getMore": id, "collection": "closed" })
        .await;
    let code = refused(gone, 43)?
        .as_document()
        .and_then(|one| one.get("codeName").cloned());
    Ok(Bson::Array(vec![log.lock().unwrap().names().into(), code.into()]))
}

pub(crate) async fn tailable_cursors_wait_for_documents(ctx: &Context) -> Outcome {
    ctx.db()
        .create_collection("tailed")
        .capped(true)
        .size(1 << 20)
        .await?;
    let tailed = ctx.collection("tailed");
    tailed.insert_many([doc! { "_id": 0 }, doc! { "_id": 1 }]).await?;
    let open = tailed
        .find(doc! {})
        .cursor_type(CursorType::TailableAwait)
        .max_await_time(HASTY * 3);
    let mut cursor = open.batch_size(2).await?;
    let mut seen = Vec::new();
    for n in 0..6 {
        if n >= 2 {
            let late = tailed.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(30)).await;
                late.insert_one(doc! { "_id": n }).await
            });
        }
        seen.push(cursor.try_next().await?.ok_or("the cursor ended")?);
    }
    equal(ids(&seen), (0..6).collect())?;
    ctx.collection("not_capped").insert_one(doc! { "_id": 1 }).await?;
    let refusal = ctx
        .collection("not_capped")
        .find(doc! {})
        .cursor_type(CursorType::Tailable)
        .await;
    Ok(Bson::Array(vec![seen.into(), refused(refusal.map(drop), 2)?]))
}

fn told(events: &[Event]) -> Bson {
    let one = |event: &Event| -> Bson {
        let told = doc! {
            "kind": format!("{:?}", event.operation_type),
            "key": event.document_key.clone(),
            "document": event.full_document.clone(),
        };
        told.into()
    };
    events.iter().map(one).collect::<Vec<_>>().into()
}

fn keys(events: &[Event]) -> Vec<i32> {
    let key = |event: &Event| {
        event
            .document_key
            .as_ref()
            .and_then(|one| one.get_i32("_id").ok())
            .unwrap_or(-1)
    };
    events.iter().map(key).collect()
}

pub(crate) async fn change_streams_of_a_collection_a_database_and_the_set(ctx: &Context) -> Outcome {
    let things = ctx.seed("watched", 1, &doc! {}).await?;
    let mine = || [doc! { "$match": { "ns.db": &ctx.database, "ns.coll": "watched" } }];
    let mut streams = vec![
        things
            .watch()
            .full_document(FullDocumentType::UpdateLookup)
            .max_await_time(HASTY)
            .await?,
        ctx.db()
            .watch()
            .pipeline(mine())
            .max_await_time(HASTY)
            .await?
            .with_type(),
        ctx.client
            .watch()
            .pipeline(mine())
            .max_await_time(HASTY)
            .await?
            .with_type(),
    ];
    things.insert_one(doc! { "_id": 1, "n": 1 }).await?;
    things
        .update_one(doc! { "_id": 1 }, doc! { "$set": { "n": 2 } })
        .await?;
    things.replace_one(doc! { "_id": 1 }, doc! { "n": 3 }).await?;
    things.delete_one(doc! { "_id": 1 }).await?;
    let mut seen = Vec::new();
    for stream in &mut streams {
        let events: Vec<Event> = stream.take(4).try_collect().await?;
        equal(keys(&events), vec![1; 4])?;
        seen.push(told(&events));
    }
    Ok(seen.into())
}

pub(crate) async fn a_change_stream_resumes_when_its_cursor_is_killed(ctx: &Context) -> Outcome {
    ctx.seed("resumed", 1, &doc! {}).await?;
    let (client, log) = ctx.connect("").await?;
    let db = client.database(&ctx.database);
    let things = db.collection::<Document>("resumed");
    let mut stream = things.watch().max_await_time(HASTY).await?;
    let mut seen: Vec<Event> = Vec::new();
    for n in 1..4 {
        things.insert_one(doc! { "_id": n }).await?;
        seen.push(stream.try_next().await?.ok_or("the stream ended")?);
        let id = log
            .lock()
            .unwrap()
            .last_reply("aggregate")
            .get_document("cursor")?
            .get_i64("id")?;
        let killed = db
            .run_command(doc! { "killCursors": "resumed", "cursors": [id] })
            .await?;
        equal(killed.get_array("cursorsKilled")?.len(), 1)?;
        // Happens while the stream has no cursor.
        things.insert_one(doc! { "_id": n * 100 }).await?;
        seen.push(stream.try_next().await?.ok_or("the stream ended")?);
    }
    equal(keys(&seen), vec![1, 100, 2, 200, 3, 300])?;
    let aggregates = log
        .lock()
        .unwrap()
        .names()
        .iter()
        .filter(|name| *name == "aggregate")
        .count();
    equal(aggregates, 4)?;
    Ok(told(&seen))
}

pub(crate) async fn a_change_stream_is_resumed_by_a_token_of_another(ctx: &Context) -> Outcome {
    let things = ctx.seed("token", 1, &doc! {}).await?;
    let mut first = things.watch().max_await_time(HASTY).await?;
    things.insert_many((1..6).map(|n| doc! { "_id": n })).await?;
    let two = async |stream: &mut mongodb::change_stream::ChangeStream<Event>| -> Result<Event, Failure> {
        stream.try_next().await?.ok_or("the stream ended")?;
        Ok(stream.try_next().await?.ok_or("the stream ended")?)
    };
    let token = two(&mut first).await?.id;
    let (client, _) = ctx.connect("").await?;
    let again = client.database(&ctx.database).collection::<Document>("token");
    let mut after = again
        .watch()
        .resume_after(token.clone())
        .max_await_time(HASTY)
        .await?;
    let events: Vec<Event> = (&mut after).take(3).try_collect().await?;
    equal(keys(&events), vec![3, 4, 5])?;
    let started = again.watch().start_after(token).await?.next().await;
    equal(keys(&[started.ok_or("the stream ended")??]), vec![3])?;
    Ok(told(&events))
}
