package main

import (
	"bytes"
	"sort"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/gridfs"
	"go.mongodb.org/mongo-driver/mongo/options"
	"go.mongodb.org/mongo-driver/mongo/readpref"
	"go.mongodb.org/mongo-driver/mongo/writeconcern"
)

func inOrder() *options.FindOptions {
	return options.Find().SetSort(bson.D{{Key: "_id", Value: 1}})
}

func with(key string, value interface{}) bson.D {
	return bson.D{{Key: key, Value: value}}
}

func crud(s *side) interface{} {
	things := s.collection("crud")
	one, err := things.InsertOne(s.ctx, bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: 1}})
	check(err)
	many, err := things.InsertMany(s.ctx, []interface{}{with("_id", 2), with("_id", 3), with("_id", 4)})
	check(err)
	told := []interface{}{one.InsertedID, many.InsertedIDs}
	update := func(result *mongo.UpdateResult, err error) {
		check(err)
		told = append(told, result.MatchedCount, result.ModifiedCount, result.UpsertedCount, result.UpsertedID)
	}
	update(things.UpdateOne(s.ctx, with("_id", 1), with("$inc", with("n", 5))))
	update(things.UpdateMany(s.ctx, bson.D{}, with("$set", with("seen", true))))
	update(things.UpdateOne(s.ctx, with("_id", 9), with("$set", with("n", 9)), options.Update().SetUpsert(true)))
	update(things.ReplaceOne(s.ctx, with("_id", 2), with("n", "two")))
	deleted, err := things.DeleteOne(s.ctx, with("_id", 3))
	check(err)
	rest, err := things.DeleteMany(s.ctx, with("_id", with("$gt", 3)))
	check(err)
	cursor, err := things.Find(s.ctx, bson.D{}, inOrder())
	left := all(s.ctx, cursor, err)
	equal(len(left), 2)
	equal(things.FindOne(s.ctx, with("_id", 77)).Err(), mongo.ErrNoDocuments)
	return append(told, deleted.DeletedCount, rest.DeletedCount, left, s.log.names())
}

func findOneAndModify(s *side) interface{} {
	things := s.seed("modify", 3, nil)
	after := options.FindOneAndUpdate().SetReturnDocument(options.After)
	upsert := options.FindOneAndUpdate().SetUpsert(true)
	told := []bson.M{}
	for _, one := range []*mongo.SingleResult{
		things.FindOneAndUpdate(s.ctx, with("_id", 1), with("$set", with("n", 7)), after),
		things.FindOneAndReplace(s.ctx, with("_id", 2), with("n", "again")),
		things.FindOneAndUpdate(s.ctx, with("_id", 5), with("$set", with("n", 5)), upsert),
		things.FindOneAndDelete(s.ctx, with("_id", 2), options.FindOneAndDelete().SetProjection(with("n", 1))),
		things.FindOneAndDelete(s.ctx, with("_id", 99)),
	} {
		var found bson.M
		if err := one.Decode(&found); err != mongo.ErrNoDocuments {
			check(err)
		}
		told = append(told, found)
	}
	equal(told[0], bson.M{"_id": int32(1), "n": int32(7)})
	return told
}

func aggregation(s *side) interface{} {
	things := s.seed("counted", 100, with("k", 1))
	_, err := things.UpdateMany(s.ctx, with("_id", with("$mod", bson.A{3, 0})), with("$set", with("k", 3)))
	check(err)
	grouped := bson.A{
		with("$group", bson.D{{Key: "_id", Value: "$k"}, {Key: "n", Value: with("$sum", 1)}}),
		with("$sort", with("_id", 1)),
	}
	cursor, err := things.Aggregate(s.ctx, grouped)
	sums := all(s.ctx, cursor, err)
	cursor, err = things.Aggregate(s.ctx, bson.A{with("$match", with("k", 3)), with("$out", "counted_out")})
	all(s.ctx, cursor, err)
	out, err := s.collection("counted_out").CountDocuments(s.ctx, bson.D{})
	check(err)
	equal(out, int64(34))
	distinct, err := things.Distinct(s.ctx, "k", bson.D{})
	check(err)
	estimated, err := things.EstimatedDocumentCount(s.ctx)
	check(err)
	return []interface{}{sums, distinct, estimated, s.log.names()}
}

func bulkWrites(s *side) interface{} {
	things := s.collection("bulk")
	insert := func(id int) mongo.WriteModel { return mongo.NewInsertOneModel().SetDocument(with("_id", id)) }
	result, err := things.BulkWrite(s.ctx, []mongo.WriteModel{
		insert(1),
		insert(2),
		mongo.NewUpdateOneModel().SetFilter(with("_id", 1)).SetUpdate(with("$set", with("n", 1))),
		mongo.NewUpdateManyModel().SetFilter(bson.D{}).SetUpdate(with("$set", with("all", 1))),
		mongo.NewReplaceOneModel().SetFilter(with("_id", 3)).SetReplacement(with("n", 3)).SetUpsert(true),
		mongo.NewDeleteOneModel().SetFilter(with("_id", 2)),
	})
	check(err)
	documents := make([]interface{}, 2500)
	for n := range documents {
		documents[n] = with("_id", 100+n)
	}
	many, err := things.InsertMany(s.ctx, documents, options.InsertMany().SetOrdered(false))
	check(err)
	_, err = things.BulkWrite(s.ctx, []mongo.WriteModel{insert(50), insert(1), insert(51)})
	stopped := refused(err, 11000)
	three := []mongo.WriteModel{insert(1), insert(60), insert(3)}
	_, err = things.BulkWrite(s.ctx, three, options.BulkWrite().SetOrdered(false))
	unordered := refused(err, 11000)
	count, err := things.CountDocuments(s.ctx, bson.D{})
	check(err)
	equal(count, int64(2504))
	counts := []int64{result.InsertedCount, result.MatchedCount, result.ModifiedCount, result.DeletedCount, result.UpsertedCount}
	return []interface{}{counts, len(many.InsertedIDs), stopped, unordered}
}

func indexes(s *side) interface{} {
	things := s.seed("indexed", 10, with("n", 1))
	made, err := things.Indexes().CreateOne(s.ctx, mongo.IndexModel{
		Keys:    with("n", 1),
		Options: options.Index().SetUnique(true).SetPartialFilterExpression(with("n", with("$gt", 1))),
	})
	check(err)
	_, err = things.UpdateOne(s.ctx, with("_id", 1), with("$set", with("n", 3)))
	check(err)
	_, err = things.InsertOne(s.ctx, bson.D{{Key: "_id", Value: 77}, {Key: "n", Value: 3}})
	duplicate := refused(err, 11000)
	cursor, err := things.Indexes().List(s.ctx)
	listed := all(s.ctx, cursor, err)
	_, err = things.Indexes().DropOne(s.ctx, made)
	check(err)
	_, err = things.Find(s.ctx, with("n", 3), options.Find().SetHint("n_1"))
	return []interface{}{made, duplicate, listed, refused(err, 2)}
}

func collectionsAndErrors(s *side) interface{} {
	db := s.client.Database(s.database)
	check(db.CreateCollection(s.ctx, "made_capped", options.CreateCollection().SetCapped(true).SetSizeInBytes(4096)))
	check(db.CreateView(s.ctx, "made_view", "made_capped", bson.A{}))
	names, err := db.ListCollectionNames(s.ctx, with("name", with("$regex", "^made_")))
	check(err)
	sort.Strings(names)
	things := s.seed("errors", 3, nil)
	_, filter := things.Find(s.ctx, with("$noSuchOperator", 1))
	_, immutable := things.UpdateOne(s.ctx, with("_id", 1), with("$inc", with("_id", 1)))
	_, slow := things.Find(s.ctx, with("$where", "sleep(400) || true"), options.Find().SetMaxTime(50*time.Millisecond))
	refused(slow, 50)
	late := writeconcern.New(writeconcern.W(50), writeconcern.WTimeout(100*time.Millisecond))
	_, unmet := s.collection("errors", options.Collection().SetWriteConcern(late)).InsertOne(s.ctx, with("_id", 9))
	again := options.CreateCollection().SetCapped(true).SetSizeInBytes(8192)
	return []interface{}{
		names,
		refused(db.RunCommand(s.ctx, with("noSuchCommand", 1)).Err(), 59),
		refused(db.CreateCollection(s.ctx, "made_capped", again), 48),
		refused(filter, 2),
		refused(immutable, 66),
		refused(unmet, 100),
	}
}

func hundredAtOnce(s *side) interface{} {
	client, _ := s.connect("maxPoolSize=5")
	things := client.Database(s.database).Collection("parallel")
	atOnce := func(one func(n int) error) {
		failures := make([]error, 100)
		var group sync.WaitGroup
		for n := range failures {
			group.Add(1)
			go func(n int) {
				defer group.Done()
				failures[n] = one(n)
			}(n)
		}
		group.Wait()
		for _, err := range failures {
			check(err)
		}
	}
	atOnce(func(n int) error {
		_, err := things.InsertOne(s.ctx, with("_id", n))
		return err
	})
	found := make([]bson.M, 100)
	atOnce(func(n int) error { return things.FindOne(s.ctx, with("_id", n)).Decode(&found[n]) })
	equal(ids(found), upTo(100))
	return len(found)
}

func files(s *side) interface{} {
	content := bytes.Repeat([]byte("Tidegate "), 150_000)
	db := s.client.Database(s.database)
	everywhere := options.GridFSBucket().SetWriteConcern(writeconcern.New(writeconcern.W(3)))
	bucket, err := gridfs.NewBucket(db, everywhere)
	check(err)
	check(bucket.UploadFromStreamWithID("file", "name.bin", bytes.NewReader(content)))
	away, err := gridfs.NewBucket(db, options.GridFSBucket().SetReadPreference(readpref.Secondary()))
	check(err)
	lengths := []int64{}
	for _, one := range []*gridfs.Bucket{bucket, away} {
		var seen bytes.Buffer
		length, err := one.DownloadToStream("file", &seen)
		check(err)
		equal(bytes.Equal(seen.Bytes(), content), true)
		lengths = append(lengths, length)
	}
	chunks, err := s.collection("fs.chunks").CountDocuments(s.ctx, bson.D{})
	check(err)
	check(bucket.Rename("file", "renamed"))
	cursor, err := bucket.Find(with("filename", "renamed"))
	found := all(s.ctx, cursor, err)
	check(bucket.Delete("file"))
	_, absent := bucket.OpenDownloadStream("file")
	return []interface{}{lengths, chunks, found[0]["length"], refused(absent, 0)}
}
