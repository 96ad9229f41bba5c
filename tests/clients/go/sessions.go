package main

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/options"
	"go.mongodb.org/mongo-driver/mongo/readconcern"
	"go.mongodb.org/mongo-driver/mongo/readpref"
	"go.mongodb.org/mongo-driver/mongo/writeconcern"
)

func accounts(s *side, name string) *mongo.Collection {
	return s.seed(name, 4, with("sum", 100))
}

func sums(ctx context.Context, things *mongo.Collection) []int {
	cursor, err := things.Find(ctx, bson.D{}, inOrder().SetBatchSize(2))
	found := []int{}
	for _, one := range all(ctx, cursor, err) {
		sum, _ := one["sum"].(int32)
		found = append(found, int(sum))
	}
	return found
}

func add(ctx context.Context, things *mongo.Collection, id, sum int) {
	_, err := things.UpdateOne(ctx, with("_id", id), with("$inc", with("sum", sum)))
	check(err)
}

// Runs `work` with a session of `client` that ends with it.
func withSession(s *side, client *mongo.Client, how *options.SessionOptions, work func(mongo.SessionContext)) {
	check(client.UseSessionWithOptions(s.ctx, how, func(ctx mongo.SessionContext) error {
		work(ctx)
		return nil
	}))
}

func transactionCommits(s *side) interface{} {
	things := accounts(s, "committed")
	var inside, outside []int
	withSession(s, s.client, options.Session(), func(ctx mongo.SessionContext) {
		majority := writeconcern.New(writeconcern.WMajority())
		how := options.Transaction().SetReadConcern(readconcern.Snapshot()).SetWriteConcern(majority)
		_, err := ctx.WithTransaction(ctx, func(ctx mongo.SessionContext) (interface{}, error) {
			add(ctx, things, 0, -30)
			add(ctx, things, 1, 30)
			if _, err := things.InsertOne(ctx, bson.D{{Key: "_id", Value: 9}, {Key: "sum", Value: 1}}); err != nil {
				return nil, err
			}
			inside, outside = sums(ctx, things), sums(s.ctx, things)
			return nil, nil
		}, how)
		check(err)
	})
	after := sums(s.ctx, things)
	equal(inside, []int{70, 130, 100, 100, 1})
	equal(outside, []int{100, 100, 100, 100})
	equal(after, inside)
	return [][]int{inside, outside, after}
}

func transactionRetries(s *side) interface{} {
	things := accounts(s, "conflict")
	tries := 0
	withSession(s, s.client, options.Session(), func(ctx mongo.SessionContext) {
		_, err := ctx.WithTransaction(ctx, func(ctx mongo.SessionContext) (interface{}, error) {
			tries++
			var seen struct{ Sum int }
			if err := things.FindOne(ctx, with("_id", 0)).Decode(&seen); err != nil {
				return nil, err
			}
			if tries == 1 {
				add(s.ctx, things, 0, 1000)
			}
			_, err := things.UpdateOne(ctx, with("_id", 0), with("$set", with("sum", seen.Sum-30)))
			return nil, err
		})
		check(err)
	})
	after := sums(s.ctx, things)
	equal(tries, 2)
	equal(after, []int{1070, 100, 100, 100})
	return after
}

func transactionsAbort(s *side) interface{} {
	things := accounts(s, "aborted")
	told := []interface{}{}
	withSession(s, s.client, options.Session(), func(ctx mongo.SessionContext) {
		check(ctx.StartTransaction())
		_, err := things.DeleteMany(ctx, bson.D{})
		check(err)
		equal(len(sums(ctx, things)), 0)
		check(ctx.AbortTransaction(ctx))
		own := errors.New("the application's own")
		_, err = ctx.WithTransaction(ctx, func(ctx mongo.SessionContext) (interface{}, error) {
			add(ctx, things, 3, 1)
			return nil, own
		})
		equal(err, own)
		check(ctx.StartTransaction())
		add(ctx, things, 0, 1)
		_, err = things.InsertOne(ctx, with("_id", 1))
		told = append(told, refused(err, 11000))
		_, err = things.InsertOne(ctx, with("_id", 12))
		told = append(told, refused(err, 251))
		check(ctx.AbortTransaction(ctx))
	})
	// The locks are gone too: these writes would wait otherwise.
	_, err := things.UpdateMany(s.ctx, bson.D{}, with("$inc", with("sum", 1)))
	check(err)
	after := sums(s.ctx, things)
	equal(after, []int{101, 101, 101, 101})
	return append(told, after)
}

func cursorsInTransaction(s *side) interface{} {
	things := s.seed("within", 200, with("sum", 1))
	found, groups := 0, 0
	withSession(s, s.client, options.Session(), func(ctx mongo.SessionContext) {
		check(ctx.StartTransaction())
		insertWithin, err := things.InsertOne(ctx, with("_id", 200))
		check(err)
		equal(insertWithin.InsertedID, int32(200))
		found = len(sums(ctx, things))
		fifty := bson.A{with("$group", with("_id", with("$mod", bson.A{"$_id", 50})))}
		cursor, err := things.Aggregate(ctx, fifty, options.Aggregate().SetBatchSize(7))
		groups = len(all(ctx, cursor, err))
		left, err := things.Find(ctx, bson.D{}, options.Find().SetBatchSize(2))
		check(err)
		left.Next(ctx)
		check(ctx.CommitTransaction(ctx))
		check(ctx.CommitTransaction(ctx))
	})
	count, err := things.CountDocuments(s.ctx, bson.D{})
	check(err)
	equal([]int{found, groups, int(count)}, []int{201, 50, 201})
	return []int{found, groups}
}

func causalSession(s *side) interface{} {
	s.seed("causal", 1, nil)
	one := writeconcern.New(writeconcern.W(1))
	writes := s.collection("causal", options.Collection().SetWriteConcern(one))
	reads := s.collection("causal", options.Collection().SetReadPreference(readpref.Secondary()))
	other, _ := s.connect("")
	seen := []int32{}
	withSession(s, s.client, options.Session().SetCausalConsistency(true), func(ctx mongo.SessionContext) {
		for n := 0; n < 30; n++ {
			_, err := writes.UpdateOne(ctx, with("_id", 0), with("$set", with("n", n)))
			check(err)
			var found struct{ N int32 }
			check(reads.FindOne(ctx, with("_id", 0)).Decode(&found))
			equal(found.N, int32(n))
			seen = append(seen, found.N)
		}
		// Another session goes on from there.
		withSession(s, other, options.Session(), func(reader mongo.SessionContext) {
			check(reader.AdvanceClusterTime(ctx.ClusterTime()))
			check(reader.AdvanceOperationTime(ctx.OperationTime()))
			away := options.Collection().SetReadPreference(readpref.Secondary())
			var found struct{ N int32 }
			check(other.Database(s.database).Collection("causal", away).FindOne(reader, bson.D{}).Decode(&found))
			equal(found.N, int32(29))
		})
	})
	return seen
}

func snapshotSession(s *side) interface{} {
	things := s.seed("snapshot", 3, with("sum", 0))
	majority := s.collection("snapshot", options.Collection().SetWriteConcern(writeconcern.New(writeconcern.WMajority())))
	write := func(sum int) {
		_, err := majority.UpdateMany(s.ctx, bson.D{}, with("$set", bson.D{{Key: "sum", Value: sum}, {Key: "settled", Value: true}}))
		check(err)
	}
	// What w: 3 acknowledged is majority committed only a moment later.
	write(0)
	told := []interface{}{}
	withSession(s, s.client, options.Session().SetSnapshot(true), func(ctx mongo.SessionContext) {
		told = append(told, sums(ctx, things))
		write(1)
		away := s.collection("snapshot", options.Collection().SetReadPreference(readpref.Secondary()))
		count, err := things.CountDocuments(ctx, with("sum", 0))
		check(err)
		told = append(told, sums(ctx, things), sums(ctx, away), count, refused(ctx.StartTransaction(), 0))
	})
	equal(told[:4], []interface{}{[]int{0, 0, 0}, []int{0, 0, 0}, []int{0, 0, 0}, int64(3)})
	return append(told, sums(s.ctx, things))
}
