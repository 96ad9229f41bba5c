package main

import (
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/options"
	"go.mongodb.org/mongo-driver/mongo/readpref"
)

var text = with("text", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")

func manyBatches(s *side) interface{} {
	s.seed("batches", 1000, text)
	client, log := s.connect("")
	things := client.Database(s.database).Collection("batches")
	cursor, err := things.Find(s.ctx, bson.D{}, inOrder().SetBatchSize(90))
	equal(ids(all(s.ctx, cursor, err)), upTo(1000))
	backwards := options.Aggregate().SetBatchSize(90)
	cursor, err = things.Aggregate(s.ctx, bson.A{with("$sort", with("_id", -1))}, backwards)
	equal(len(all(s.ctx, cursor, err)), 1000)
	lengths := []int{}
	for _, one := range []*options.FindOptions{
		options.Find().SetLimit(250).SetBatchSize(100),
		options.Find().SetLimit(-50),
		options.Find().SetSkip(950).SetBatchSize(20),
		options.Find().SetNoCursorTimeout(true).SetBatchSize(300),
	} {
		cursor, err := things.Find(s.ctx, bson.D{}, one)
		lengths = append(lengths, len(all(s.ctx, cursor, err)))
	}
	equal(lengths, []int{250, 50, 50, 1000})
	return log.names()
}

func everyKindOfNode(s *side) interface{} {
	s.seed("kinds", 300, text)
	modes := []*readpref.ReadPref{
		readpref.Primary(), readpref.PrimaryPreferred(), readpref.Secondary(), readpref.SecondaryPreferred(), readpref.Nearest(),
	}
	lengths := []int{}
	var group sync.WaitGroup
	var lock sync.Mutex
	for n := 0; n < 10; n++ {
		things := s.collection("kinds", options.Collection().SetReadPreference(modes[n%len(modes)]))
		// All are open at once.
		cursor, err := things.Find(s.ctx, bson.D{}, inOrder().SetBatchSize(int32(15+n)))
		check(err)
		group.Add(1)
		go func() {
			defer group.Done()
			found := []bson.M{}
			err := cursor.All(s.ctx, &found)
			lock.Lock()
			defer lock.Unlock()
			if err == nil {
				equalLater(ids(found), &lengths)
			}
		}()
	}
	group.Wait()
	equal(lengths, []int{300, 300, 300, 300, 300, 300, 300, 300, 300, 300})
	return lengths
}

// Counts what was found if it is 0, 1, 2 and so on; a goroutine's panic would end the program.
func equalLater(found []int, lengths *[]int) {
	for n, id := range found {
		if n != id {
			return
		}
	}
	*lengths = append(*lengths, len(found))
}

func closedEarly(s *side) interface{} {
	s.seed("closed", 100, nil)
	client, log := s.connect("")
	db := client.Database(s.database)
	cursor, err := db.Collection("closed").Find(s.ctx, bson.D{}, options.Find().SetBatchSize(10))
	check(err)
	cursor.Next(s.ctx)
	id := cursor.ID()
	check(cursor.Close(s.ctx))
	killed, err := last(log, &log.replies, "killCursors").Lookup("cursorsKilled").Array().Values()
	check(err)
	equal([]int64{killed[0].Int64()}, []int64{id})
	gone := db.RunCommand(s.ctx, bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "closed"}}).Err()
	refused(gone, 43)
	return []interface{}{log.names(), gone.(mongo.CommandError).Name}
}

func tailable(s *side) interface{} {
	db := s.client.Database(s.database)
	check(db.CreateCollection(s.ctx, "tailed", options.CreateCollection().SetCapped(true).SetSizeInBytes(1<<20)))
	tailed := db.Collection("tailed")
	_, err := tailed.InsertMany(s.ctx, []interface{}{with("_id", 0), with("_id", 1)})
	check(err)
	wait := options.Find().SetCursorType(options.TailableAwait).SetMaxAwaitTime(300 * time.Millisecond).SetBatchSize(2)
	cursor, err := tailed.Find(s.ctx, bson.D{}, wait)
	check(err)
	seen := []bson.M{}
	for n := 0; n < 6; n++ {
		if n >= 2 {
			id := n
			time.AfterFunc(30*time.Millisecond, func() { _, _ = tailed.InsertOne(s.ctx, with("_id", id)) })
		}
		equal(cursor.Next(s.ctx), true)
		var one bson.M
		check(cursor.Decode(&one))
		seen = append(seen, one)
	}
	check(cursor.Close(s.ctx))
	equal(ids(seen), upTo(6))
	_, err = db.Collection("not_capped").InsertOne(s.ctx, with("_id", 1))
	check(err)
	_, err = db.Collection("not_capped").Find(s.ctx, bson.D{}, options.Find().SetCursorType(options.Tailable))
	return []interface{}{seen, refused(err, 2)}
}

// The next events, without what belongs to one run.
func take(s *side, stream *mongo.ChangeStream, count int) []interface{} {
	events := []interface{}{}
	for len(events) < count {
		if !stream.Next(s.ctx) {
			check(stream.Err())
			panic("the stream ended")
		}
		var event bson.M
		check(stream.Decode(&event))
		events = append(events, []interface{}{
			event["operationType"], event["documentKey"], event["fullDocument"], event["updateDescription"], event["ns"],
		})
	}
	return events
}

func hasty() *options.ChangeStreamOptions {
	return options.ChangeStream().SetMaxAwaitTime(100 * time.Millisecond)
}

func insertAll(s *side, things *mongo.Collection, numbers ...int) {
	for _, n := range numbers {
		_, err := things.InsertOne(s.ctx, with("_id", n))
		check(err)
	}
}

func changeStreams(s *side) interface{} {
	things := s.seed("watched", 1, nil)
	mine := bson.A{with("$match", bson.D{{Key: "ns.db", Value: s.database}, {Key: "ns.coll", Value: "watched"}})}
	streams := make([]*mongo.ChangeStream, 3)
	var failures [3]error
	streams[0], failures[0] = things.Watch(s.ctx, bson.A{}, hasty().SetFullDocument(options.UpdateLookup))
	streams[1], failures[1] = s.client.Database(s.database).Watch(s.ctx, mine, hasty())
	streams[2], failures[2] = s.client.Watch(s.ctx, mine, hasty())
	for _, err := range failures {
		check(err)
	}
	insertAll(s, things, 1)
	_, err := things.UpdateOne(s.ctx, with("_id", 1), with("$set", with("n", 2)))
	check(err)
	_, err = things.ReplaceOne(s.ctx, with("_id", 1), with("n", 3))
	check(err)
	_, err = things.DeleteOne(s.ctx, with("_id", 1))
	check(err)
	seen := []interface{}{}
	for _, stream := range streams {
		seen = append(seen, take(s, stream, 4))
		check(stream.Close(s.ctx))
	}
	return seen
}

func streamResumes(s *side) interface{} {
	s.seed("resumed", 1, nil)
	client, log := s.connect("")
	db := client.Database(s.database)
	things := db.Collection("resumed")
	stream, err := things.Watch(s.ctx, bson.A{}, hasty())
	check(err)
	seen := []interface{}{}
	for n := 1; n < 4; n++ {
		insertAll(s, things, n)
		seen = append(seen, take(s, stream, 1)...)
		kill := bson.D{{Key: "killCursors", Value: "resumed"}, {Key: "cursors", Value: bson.A{log.openedCursor("aggregate")}}}
		check(db.RunCommand(s.ctx, kill).Err())
		// Happens while the stream has no cursor.
		insertAll(s, things, n*100)
		seen = append(seen, take(s, stream, 1)...)
	}
	check(stream.Close(s.ctx))
	aggregates := 0
	for _, name := range log.names() {
		if name == "aggregate" {
			aggregates++
		}
	}
	equal(aggregates, 4)
	return seen
}

func streamResumedByToken(s *side) interface{} {
	things := s.seed("token", 1, nil)
	first, err := things.Watch(s.ctx, bson.A{}, hasty())
	check(err)
	insertAll(s, things, 1, 2, 3, 4, 5)
	take(s, first, 2)
	token := first.ResumeToken()
	check(first.Close(s.ctx))
	other, _ := s.connect("")
	again := other.Database(s.database).Collection("token")
	after, err := again.Watch(s.ctx, bson.A{}, hasty().SetResumeAfter(token))
	check(err)
	seen := take(s, after, 3)
	check(after.Close(s.ctx))
	started, err := again.Watch(s.ctx, bson.A{}, hasty().SetStartAfter(token))
	check(err)
	next := take(s, started, 1)
	check(started.Close(s.ctx))
	_, bad := again.Watch(s.ctx, bson.A{}, hasty().SetResumeAfter(with("_data", "00")))
	return []interface{}{seen, next, refused(bad, 0)}
}
