//! Sessions and transactions.

use std::sync::atomic::{AtomicI32, Ordering};

use futures_util::TryStreamExt;
use mongodb::{
    ClientSession, Collection,
    bson::{Bson, Document, doc},
    options::{Acknowledgment, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern},
};

use crate::harness::{Context, Failure, Outcome, equal, refused};

fn sum_of(one: &Document) -> i32 {
    one.get_i32("sum").unwrap_or(-1)
}

async fn sums(things: &Collection<Document>) -> mongodb::error::Result<Vec<i32>> {
    let found: Vec<Document> = things
        .find(doc! {})
        .sort(doc! { "_id": 1 })
        .await?
        .try_collect()
        .await?;
    Ok(found.iter().map(sum_of).collect())
}

async fn sums_within(
    things: &Collection<Document>,
    session: &mut ClientSession,
) -> mongodb::error::Result<Vec<i32>> {
    let mut cursor = things
        .find(doc! {})
        .sort(doc! { "_id": 1 })
        .batch_size(2)
        .session(&mut *session)
        .await?;
    let found: Vec<Document> = cursor.stream(session).try_collect().await?;
    Ok(found.iter().map(sum_of).collect())
}

async fn accounts(ctx: &Context, name: &str) -> Result<Collection<Document>, Failure> {
    ctx.seed(name, 4, &doc! { "sum": 100 }).await
}

fn majority() -> WriteConcern {
    WriteConcern::builder().w(Acknowledgment::Majority).build()
}

pub(crate) async fn with_transaction_commits_all(ctx: &Context) -> Outcome {
    let things = accounts(ctx, "committed").await?;
    let mut session = ctx.client.start_session().await?;
    let (inside, outside) = session
        .start_transaction()
        .read_concern(ReadConcern::snapshot())
        .write_concern(majority())
        .and_run2(async |session| {
            things
                .update_one(doc! { "_id": 0 }, doc! { "$inc": { "sum": -30 } })
                .session(&mut *session)
                .await?;
            things
                .update_one(doc! { "_id": 1 }, doc! { "$inc": { "sum": 30 } })
                .session(&mut *session)
                .await?;
            things
                .insert_one(doc! { "_id": 9, "sum": 1 })
                .session(&mut *session)
                .await?;
            Ok((sums_within(&things, session).await?, sums(&things).await?))
        })
        .await?;
    let after = sums(&things).await?;
    equal((&inside, &outside), (&vec![70, 130, 100, 100, 1], &vec![100; 4]))?;
    equal(&after, &inside)?;
    Ok(Bson::Array(vec![inside.into(), outside.into(), after.into()]))
}

pub(crate) async fn with_transaction_retries_a_conflict(ctx: &Context) -> Outcome {
    let things = accounts(ctx, "conflict").await?;
    let tries = AtomicI32::new(0);
    let mut session = ctx.client.start_session().await?;
    session
        .start_transaction()
        .and_run2(async |session| {
            let seen = things
                .find_one(doc! { "_id": 0 })
                .session(&mut *session)
                .await?
                .unwrap_or_default();
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                things
                    .update_one(doc! { "_id": 0 }, doc! { "$inc": { "sum": 1000 } })
                    .await?;
            }
            let less = doc! { "$set": { "sum": sum_of(&seen) - 30 } };
            things
                .update_one(doc! { "_id": 0 }, less)
                .session(&mut *session)
                .await
        })
        .await?;
    let after = sums(&things).await?;
    equal(
        (tries.load(Ordering::Relaxed), &after),
        (2, &vec![1070, 100, 100, 100]),
    )?;
    Ok(after.into())
}

pub(crate) async fn transactions_abort(ctx: &Context) -> Outcome {
    let things = accounts(ctx, "aborted").await?;
    let mut session = ctx.client.start_session().await?;
    session.start_transaction().await?;
    things.delete_many(doc! {}).session(&mut session).await?;
    let inside = sums_within(&things, &mut session).await?;
    session.abort_transaction().await?;
    session.start_transaction().await?;
    things
        .update_one(doc! { "_id": 0 }, doc! { "$inc": { "sum": 1 } })
        .session(&mut session)
        .await?;
    let duplicate = refused(
        things.insert_one(doc! { "_id": 1 }).session(&mut session).await,
        11000,
    )?;
    let over = refused(
        things.insert_one(doc! { "_id": 12 }).session(&mut session).await,
        251,
    )?;
    session.abort_transaction().await?;
    // One that is dropped is aborted.
    session.start_transaction().await?;
    things
        .update_one(doc! { "_id": 2 }, doc! { "$inc": { "sum": 1 } })
        .session(&mut session)
        .await?;
    drop(session);
    // The locks are gone too: these writes would wait otherwise.
    things.update_many(doc! {}, doc! { "$inc": { "sum": 1 } }).await?;
    let after = sums(&things).await?;
    equal((inside.len(), &after), (0, &vec![101; 4]))?;
    Ok(Bson::Array(vec![duplicate, over, after.into()]))
}

pub(crate) async fn cursors_in_a_transaction(ctx: &Context) -> Outcome {
    let things = ctx.seed("within", 200, &doc! { "sum": 1 }).await?;
    let mut session = ctx.client.start_session().await?;
    session.start_transaction().await?;
    things
        .insert_one(doc! { "_id": 200 })
        .session(&mut session)
        .await?;
    let found = sums_within(&things, &mut session).await?.len() as i32;
    let pipeline = [doc! { "$group": { "_id": { "$mod": ["$_id", 50] } } }];
    let mut grouped = things
        .aggregate(pipeline)
        .batch_size(7)
        .session(&mut session)
        .await?;
    let groups: Vec<Document> = grouped.stream(&mut session).try_collect().await?;
    let mut left = things.find(doc! {}).batch_size(2).session(&mut session).await?;
    left.next(&mut session).await;
    session.commit_transaction().await?;
    session.commit_transaction().await?;
    equal(
        (found, groups.len(), things.count_documents(doc! {}).await?),
        (201, 50, 201),
    )?;
    Ok(vec![found, groups.len() as i32].into())
}

pub(crate) async fn a_causal_session_reads_its_writes_on_secondaries(ctx: &Context) -> Outcome {
    let things = ctx.seed("causal", 1, &doc! {}).await?;
    let secondary = || SelectionCriteria::ReadPreference(ReadPreference::Secondary { options: None });
    let mut session = ctx.client.start_session().causal_consistency(true).await?;
    let mut seen = Vec::new();
    for n in 0..30 {
        let one = WriteConcern::builder().w(Acknowledgment::Nodes(1)).build();
        let set = things.update_one(doc! { "_id": 0 }, doc! { "$set": { "n": n } });
        set.write_concern(one).session(&mut session).await?;
        let read = things
            .find_one(doc! { "_id": 0 })
            .selection_criteria(secondary())
            .session(&mut session)
            .await?;
        seen.push(read.ok_or("no document")?.get_i32("n")?);
    }
    equal(&seen, &(0..30).collect())?;
    // Another session goes on from there.
    let (other, _) = ctx.connect("").await?;
    let mut reader = other.start_session().await?;
    reader.advance_cluster_time(session.cluster_time().ok_or("no cluster time")?);
    reader.advance_operation_time(session.operation_time().ok_or("no operation time")?);
    let there = other.database(&ctx.database).collection::<Document>("causal");
    let read = there
        .find_one(doc! {})
        .selection_criteria(secondary())
        .session(&mut reader)
        .await?;
    equal(read, Some(doc! { "_id": 0, "n": 29 }))?;
    Ok(seen.into())
}

pub(crate) async fn a_snapshot_session_reads_one_moment(ctx: &Context) -> Outcome {
    let things = ctx.seed("snapshot", 3, &doc! {}).await?;
    // What w: 3 acknowledged is majority committed only a moment later.
    let write = async |n| {
        things
            .update_many(doc! {}, doc! { "$set": { "sum": n } })
            .write_concern(majority())
            .await
    };
    write(0).await?;
    let mut session = ctx.client.start_session().snapshot(true).await?;
    let first = sums_within(&things, &mut session).await?;
    write(1).await?;
    let again = sums_within(&things, &mut session).await?;
    let count = things
        .count_documents(doc! { "sum": 0 })
        .session(&mut session)
        .await?;
    equal((&first, &again, count), (&vec![0; 3], &vec![0; 3], 3))?;
    let refusal = refused(session.start_transaction().await, 0)?;
    Ok(Bson::Array(vec![
        first.into(),
        again.into(),
        refusal,
        sums(&things).await?.into(),
    ]))
}
