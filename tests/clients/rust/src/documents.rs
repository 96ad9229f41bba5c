//! Documents, many writes, aggregation, indexes, collections, files.

use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt, TryStreamExt, future::try_join_all};
use mongodb::{
    IndexModel,
    bson::{Bson, Document, doc},
    options::{
        Acknowledgment, GridFsBucketOptions, Hint, IndexOptions, ReadPreference, ReturnDocument,
        SelectionCriteria, WriteConcern,
    },
};

use crate::harness::{Context, Outcome, equal, refused};

pub(crate) async fn insert_find_update_replace_delete(ctx: &Context) -> Outcome {
    let (client, log) = ctx.connect("").await?;
    let things = client.database(&ctx.database).collection::<Document>("crud");
    let mut told = vec![things.insert_one(doc! { "_id": 1, "n": 1 }).await?.inserted_id];
    let many = things
        .insert_many([doc! { "_id": 2 }, doc! { "_id": 3 }, doc! { "_id": 4 }])
        .await?;
    told.push((many.inserted_ids.len() as i64).into());
    let updates = [
        things
            .update_one(doc! { "_id": 1 }, doc! { "$inc": { "n": 5 } })
            .await?,
        things
            .update_many(doc! {}, doc! { "$set": { "seen": true } })
            .await?,
        things
            .update_one(doc! { "_id": 9 }, doc! { "$set": { "n": 9 } })
            .upsert(true)
            .await?,
        things.replace_one(doc! { "_id": 2 }, doc! { "n": "two" }).await?,
    ];
    for one in updates {
        told.push(Bson::Array(vec![
            (one.matched_count as i64).into(),
            (one.modified_count as i64).into(),
            one.upserted_id.unwrap_or(Bson::Null),
        ]));
    }
    told.push((things.delete_one(doc! { "_id": 3 }).await?.deleted_count as i64).into());
    told.push(
        (things
            .delete_many(doc! { "_id": { "$gt": 3 } })
            .await?
            .deleted_count as i64)
            .into(),
    );
    let left: Vec<Document> = things
        .find(doc! {})
        .sort(doc! { "_id": 1 })
        .await?
        .try_collect()
        .await?;
    equal(left.len(), 2)?;
    equal(things.find_one(doc! { "_id": 77 }).await?, None)?;
    let names = log.lock().unwrap().names();
    Ok(Bson::Array(vec![told.into(), left.into(), names.into()]))
}

pub(crate) async fn find_one_and_modify_it(ctx: &Context) -> Outcome {
    let things = ctx.seed("modify", 3, &doc! {}).await?;
    let after = ReturnDocument::After;
    let told = [
        things
            .find_one_and_update(doc! { "_id": 1 }, doc! { "$set": { "n": 7 } })
            .return_document(after)
            .await?,
        things
            .find_one_and_replace(doc! { "_id": 2 }, doc! { "n": "again" })
            .await?,
        things
            .find_one_and_update(doc! { "_id": 5 }, doc! { "$set": { "n": 5 } })
            .upsert(true)
            .await?,
        things
            .find_one_and_delete(doc! { "_id": 2 })
            .projection(doc! { "n": 1 })
            .await?,
        things.find_one_and_delete(doc! { "_id": 99 }).await?,
    ];
    equal(told[0].clone(), Some(doc! { "_id": 1, "n": 7 }))?;
    Ok(told.into_iter().map(Bson::from).collect::<Vec<_>>().into())
}

pub(crate) async fn aggregation_and_distinct_values(ctx: &Context) -> Outcome {
    let things = ctx.seed("counted", 100, &doc! { "k": 1 }).await?;
    things
        .update_many(doc! { "_id": { "$mod": [3, 0] } }, doc! { "$set": { "k": 3 } })
        .await?;
    let grouped = [
        doc! { "$group": { "_id": "$k", "n": { "$sum": 1 } } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let sums: Vec<Document> = things.aggregate(grouped).await?.try_collect().await?;
    things
        .aggregate([doc! { "$match": { "k": 3 } }, doc! { "$out": "counted_out" }])
        .await?;
    let out = ctx.collection("counted_out").count_documents(doc! {}).await?;
    equal(out, 34)?;
    let distinct = things.distinct("k", doc! {}).await?;
    let estimated = things.estimated_document_count().await?;
    Ok(Bson::Array(vec![
        sums.into(),
        distinct.into(),
        (estimated as i64).into(),
    ]))
}

/// The driver's bulk writes need a newer server: that they do is told as it is directly.
pub(crate) async fn many_writes(ctx: &Context) -> Outcome {
    let things = ctx.collection("bulk");
    let many = (0..2500).map(|n| doc! { "_id": n });
    let inserted = things.insert_many(many).ordered(false).await?.inserted_ids.len();
    let batch = || {
        [
            doc! { "_id": 5000 },
            doc! { "_id": 1 },
            doc! { "_id": 5001 },
            doc! { "_id": 2 },
        ]
    };
    let ordered = refused(things.insert_many(batch()).await, 11000)?;
    things.delete_many(doc! { "_id": { "$gte": 5000 } }).await?;
    let unordered = refused(things.insert_many(batch()).ordered(false).await, 11000)?;
    equal(things.count_documents(doc! {}).await?, 2502)?;
    let model = mongodb::options::InsertOneModel::builder()
        .namespace(things.namespace())
        .document(doc! { "_id": 9000 })
        .build();
    let newer = refused(ctx.client.bulk_write([model]).await, 0)?;
    Ok(Bson::Array(vec![
        (inserted as i64).into(),
        ordered,
        unordered,
        newer,
    ]))
}

pub(crate) async fn indexes(ctx: &Context) -> Outcome {
    let things = ctx.seed("indexed", 10, &doc! {}).await?;
    let unique = IndexOptions::builder().unique(true).sparse(true).build();
    let made = things
        .create_index(
            IndexModel::builder()
                .keys(doc! { "n": 1 })
                .options(unique)
                .build(),
        )
        .await?;
    things
        .update_one(doc! { "_id": 1 }, doc! { "$set": { "n": 3 } })
        .await?;
    let duplicate = refused(things.insert_one(doc! { "_id": 77, "n": 3 }).await, 11000)?;
    let mut names = things.list_index_names().await?;
    names.sort();
    let hint = || Hint::Name("n_1".to_owned());
    let hinted: Vec<Document> = things
        .find(doc! { "n": 3 })
        .hint(hint())
        .await?
        .try_collect()
        .await?;
    things.drop_index("n_1").await?;
    let gone = refused(things.find(doc! { "n": 3 }).hint(hint()).await.map(drop), 2)?;
    Ok(Bson::Array(vec![
        made.index_name.into(),
        duplicate,
        names.into(),
        hinted.into(),
        gone,
    ]))
}

pub(crate) async fn collections_and_errors(ctx: &Context) -> Outcome {
    let db = ctx.db();
    db.create_collection("made_capped")
        .capped(true)
        .size(4096)
        .await?;
    db.create_collection("made_view")
        .view_on("made_capped".to_owned())
        .pipeline(vec![])
        .await?;
    db.create_collection("made_checked")
        .validator(doc! { "n": { "$type": "int" } })
        .await?;
    let mut names = db
        .list_collection_names()
        .filter(doc! { "name": { "$regex": "^made_" } })
        .await?;
    names.sort();
    let things = ctx.seed("errors", 3, &doc! {}).await?;
    let late = WriteConcern::builder()
        .w(Acknowledgment::Nodes(50))
        .w_timeout(Duration::from_millis(100))
        .build();
    let slow = things
        .find(doc! { "$where": "sleep(400) || true" })
        .max_time(Duration::from_millis(50))
        .await;
    Ok(Bson::Array(vec![
        names.into(),
        refused(
            ctx.collection("made_checked")
                .insert_one(doc! { "_id": 1, "n": "text" })
                .await,
            121,
        )?,
        refused(
            db.create_collection("made_capped").capped(true).size(8192).await,
            48,
        )?,
        refused(db.run_command(doc! { "noSuchCommand": 1 }).await, 59)?,
        refused(things.find(doc! { "$noSuchOperator": 1 }).await.map(drop), 2)?,
        refused(
            things
                .update_one(doc! { "_id": 1 }, doc! { "$inc": { "_id": 1 } })
                .await,
            66,
        )?,
        refused(
            things.insert_one(doc! { "_id": 9 }).write_concern(late).await,
            100,
        )?,
        // Where in its work the node meets the limit is a matter of microseconds.
        refused(slow.map(drop), 50)?
            .as_document()
            .and_then(|one| one.get("codeName").cloned())
            .into(),
    ]))
}

pub(crate) async fn a_hundred_operations_at_once_over_few_connections(ctx: &Context) -> Outcome {
    let (client, _) = ctx.connect("maxPoolSize=5").await?;
    let things = client.database(&ctx.database).collection::<Document>("parallel");
    let insert = |n| {
        let things = things.clone();
        async move { things.insert_one(doc! { "_id": n }).await }
    };
    try_join_all((0..100).map(insert)).await?;
    let find = |n| {
        let things = things.clone();
        async move { things.find_one(doc! { "_id": n }).await }
    };
    let found = try_join_all((0..100).map(find)).await?;
    equal(found, (0..100).map(|n| Some(doc! { "_id": n })).collect())?;
    Ok(100.into())
}

pub(crate) async fn a_file_goes_up_and_comes_down(ctx: &Context) -> Outcome {
    let content = b"Tidegate ".repeat(150_000);
    let everywhere = WriteConcern::builder().w(Acknowledgment::Nodes(3)).build();
    let bucket = ctx
        .db()
        .gridfs_bucket(GridFsBucketOptions::builder().write_concern(everywhere).build());
    let mut upload = bucket
        .open_upload_stream("name.bin")
        .id("file".into())
        .metadata(doc! { "kind": "test" })
        .await?;
    upload.write_all(&content).await?;
    upload.close().await?;
    let secondary = SelectionCriteria::ReadPreference(ReadPreference::Secondary { options: None });
    let away = ctx.db().gridfs_bucket(
        GridFsBucketOptions::builder()
            .selection_criteria(secondary)
            .build(),
    );
    for bucket in [&bucket, &away] {
        let mut seen = Vec::new();
        bucket
            .open_download_stream("file".into())
            .await?
            .read_to_end(&mut seen)
            .await?;
        equal(seen == content, true)?;
    }
    let chunks = ctx.collection("fs.chunks").count_documents(doc! {}).await?;
    bucket.rename("file".into(), "renamed").await?;
    let found = bucket
        .find_one(doc! { "filename": "renamed" })
        .await?
        .map(|one| one.length as i64);
    bucket.delete("file".into()).await?;
    let absent = refused(bucket.open_download_stream("file".into()).await.map(drop), 0)?;
    Ok(Bson::Array(vec![(chunks as i64).into(), found.into(), absent]))
}
