package main

import (
	"sort"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/event"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/options"
	"go.mongodb.org/mongo-driver/mongo/readpref"
)

// The kinds of the topology and of its servers, once all are known: compared with what the presentation says.
func topology(s *side) interface{} {
	var lock sync.Mutex
	kind, kinds := "", []string{}
	client, _ := s.connect("", options.Client().SetServerMonitor(&event.ServerMonitor{
		TopologyDescriptionChanged: func(one *event.TopologyDescriptionChangedEvent) {
			lock.Lock()
			defer lock.Unlock()
			kind, kinds = one.NewDescription.Kind.String(), []string{}
			for _, server := range one.NewDescription.Servers {
				kinds = append(kinds, server.Kind.String())
			}
			sort.Strings(kinds)
		},
	}))
	check(client.Ping(s.ctx, readpref.Primary()))
	for n := 0; n < 1000; n++ {
		lock.Lock()
		seen, servers := []interface{}{kind, kinds}, strings.Join(kinds, " ")
		lock.Unlock()
		if servers != "" && !strings.Contains(servers, "Unknown") {
			return seen
		}
		time.Sleep(10 * time.Millisecond)
	}
	panic("the topology never was complete")
}

func everNewConnections(s *side) interface{} {
	s.seed("anew", 60, nil)
	// No connection is idle for so short a time: each command takes a new one, except where the driver itself keeps one.
	client, log := s.connect("maxIdleTimeMS=1")
	pause := func() { time.Sleep(3 * time.Millisecond) }
	for n := 0; n < 12; n++ {
		mode := readpref.Primary()
		if n%3 == 2 {
			mode = readpref.Secondary()
		}
		things := client.Database(s.database).Collection("anew", options.Collection().SetReadPreference(mode))
		cursor, err := things.Find(s.ctx, bson.D{}, inOrder().SetBatchSize(15))
		check(err)
		for id := 0; id < 60; id++ {
			equal(cursor.Next(s.ctx), true)
			equal(cursor.Current.Lookup("_id").Int32(), int32(id))
			if id%15 == 14 {
				pause()
			}
		}
		equal(cursor.Next(s.ctx), false)
		check(cursor.Err())
	}
	things := client.Database(s.database).Collection("anew")
	withSession(s, client, options.Session(), func(ctx mongo.SessionContext) {
		check(ctx.StartTransaction())
		for n := 100; n < 106; n++ {
			_, err := things.InsertOne(ctx, with("_id", n))
			check(err)
			pause()
		}
		inside, err := things.CountDocuments(ctx, bson.D{})
		check(err)
		equal(inside, int64(66))
		check(ctx.CommitTransaction(ctx))
	})
	after, err := things.CountDocuments(s.ctx, bson.D{})
	check(err)
	equal(after, int64(66))
	return log.names()
}
