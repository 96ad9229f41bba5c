package main

import (
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/options"
	"go.mongodb.org/mongo-driver/mongo/writeconcern"
)

func versionedAPI(s *side) interface{} {
	s.seed("versioned", 50, nil)
	api := options.ServerAPI(options.ServerAPIVersion1).SetStrict(true).SetDeprecationErrors(true)
	client, log := s.connect("", options.Client().SetServerAPIOptions(api))
	db := client.Database(s.database)
	things := db.Collection("versioned")
	cursor, err := things.Find(s.ctx, bson.D{}, options.Find().SetBatchSize(7))
	equal(len(all(s.ctx, cursor, err)), 50)
	insertAll(s, things, 99)
	withSession(s, client, options.Session(), func(ctx mongo.SessionContext) {
		_, err := ctx.WithTransaction(ctx, func(ctx mongo.SessionContext) (interface{}, error) {
			return things.DeleteOne(ctx, with("_id", 99))
		})
		check(err)
	})
	stream, err := things.Watch(s.ctx, bson.A{}, hasty())
	check(err)
	insertAll(s, things, 98)
	event := take(s, stream, 1)
	check(stream.Close(s.ctx))
	_, distinct := things.Distinct(s.ctx, "_id", bson.D{})
	plain := s.client.Database(s.database)
	getMores := strings.Count(strings.Join(log.names(), " "), "getMore")
	return []interface{}{
		event,
		refused(distinct, 323),
		refused(db.RunCommand(s.ctx, with("collStats", "versioned")).Err(), 323),
		refused(plain.RunCommand(s.ctx, bson.D{{Key: "ping", Value: 1}, {Key: "apiVersion", Value: "2"}}).Err(), 322),
		refused(plain.RunCommand(s.ctx, bson.D{{Key: "ping", Value: 1}, {Key: "apiStrict", Value: true}}).Err(), 0),
		getMores >= 7,
	}
}

func compressors(s *side) interface{} {
	told := []interface{}{}
	for n, option := range []string{"snappy", "zlib", "zlib&zlibCompressionLevel=9", "zstd", "zstd,snappy,zlib"} {
		client, _ := s.connect("compressors=" + option)
		things := client.Database(s.database).Collection(fmt.Sprintf("compressed_%d", n))
		documents := []interface{}{}
		for n := 0; n < 200; n++ {
			documents = append(documents, bson.D{{Key: "_id", Value: n}, {Key: "text", Value: strings.Repeat("tide ", 50)}})
		}
		_, err := things.InsertMany(s.ctx, documents)
		check(err)
		cursor, err := things.Find(s.ctx, bson.D{}, inOrder().SetBatchSize(60))
		equal(ids(all(s.ctx, cursor, err)), upTo(200))
		_, err = things.UpdateMany(s.ctx, bson.D{}, with("$set", with("big", strings.Repeat("y", 3000))))
		check(err)
		lengths := with("$sum", with("$strLenCP", "$big"))
		sum := bson.A{with("$group", bson.D{{Key: "_id", Value: nil}, {Key: "n", Value: lengths}})}
		cursor, err = things.Aggregate(s.ctx, sum)
		told = append(told, all(s.ctx, cursor, err))
		_, err = things.InsertOne(s.ctx, with("_id", 1))
		told = append(told, refused(err, 11000))
	}
	return told
}

var optionsOfTheURI = []string{
	"retryWrites=false&retryReads=false",
	"w=1",
	"w=majority&journal=true&wTimeoutMS=20000",
	"readConcernLevel=majority",
	"readPreference=secondary",
	"readPreference=secondaryPreferred&maxStalenessSeconds=120",
	"readPreference=nearest&readPreferenceTags=dc:west&readPreferenceTags=",
	"appName=harbour&maxPoolSize=2&minPoolSize=1&maxIdleTimeMS=5000",
	"heartbeatFrequencyMS=1000&connectTimeoutMS=5000&socketTimeoutMS=40000",
}

func uriOptions(s *side) interface{} {
	told := []interface{}{}
	for n, option := range optionsOfTheURI {
		name := fmt.Sprintf("uri_%d", n)
		s.seed(name, 20, nil)
		// What w: 3 acknowledged is majority committed only a moment later.
		majority := options.Collection().SetWriteConcern(writeconcern.New(writeconcern.WMajority()))
		_, err := s.collection(name, majority).UpdateOne(s.ctx, with("_id", 0), with("$set", with("settled", true)))
		check(err)
		client, log := s.connect(option)
		things := client.Database(s.database).Collection(name)
		cursor, err := things.Find(s.ctx, with("_id", with("$lt", 20)), options.Find().SetBatchSize(6))
		equal(len(all(s.ctx, cursor, err)), 20)
		insertAll(s, things, 100)
		deadline := time.Now().Add(10 * time.Second)
		for s.collection(name).FindOne(s.ctx, with("_id", 100)).Err() != nil {
			equal(time.Now().Before(deadline), true)
		}
		insert, find := last(log, &log.commands, "insert"), last(log, &log.commands, "find")
		concern := func(command bson.Raw, key string) string {
			value, err := command.LookupErr(key)
			if err != nil {
				return ""
			}
			// A read concern has the time to read after in it.
			return strings.Split(value.String(), `"afterClusterTime"`)[0]
		}
		_, err = insert.LookupErr("txnNumber")
		told = append(told, bson.M{
			"option": option, "writeConcern": concern(insert, "writeConcern"), "retried": err == nil,
			"readConcern": concern(find, "readConcern"), "names": log.names(),
		})
	}
	return told
}

func directConnection(s *side) interface{} {
	client, log := s.connectTo(s.single)
	things := client.Database(s.database).Collection("single")
	documents := []interface{}{}
	for n := 0; n < 50; n++ {
		documents = append(documents, with("_id", n))
	}
	_, err := things.InsertMany(s.ctx, documents)
	check(err)
	cursor, err := things.Find(s.ctx, bson.D{}, options.Find().SetBatchSize(9))
	equal(len(all(s.ctx, cursor, err)), 50)
	withSession(s, client, options.Session(), func(ctx mongo.SessionContext) {
		check(ctx.StartTransaction())
		_, err := things.DeleteOne(ctx, with("_id", 1))
		check(err)
		check(ctx.CommitTransaction(ctx))
	})
	count, err := things.CountDocuments(s.ctx, bson.D{})
	check(err)
	equal(count, int64(49))
	return log.names()
}
