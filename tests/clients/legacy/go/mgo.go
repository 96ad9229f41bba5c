// The exercise of mgo.v2.
//
// Arguments: an address, a database, and the replica set's name if the driver is to take the address for a member of one.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"time"

	"gopkg.in/mgo.v2"
	"gopkg.in/mgo.v2/bson"
)

// M is a document.
type M = bson.M

type list = []interface{}

var (
	session *mgo.Session
	db      *mgo.Database
	things  *mgo.Collection
)

// failure carries an error of a step to where it is printed.
type failure struct{ error }

func must(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// code is the server's code of an error, or its words where the driver keeps none.
func code(err error) interface{} {
	switch err := err.(type) {
	case *mgo.LastError:
		return err.Code
	case *mgo.QueryError:
		if err.Code != 0 {
			return err.Code
		}
	case *mgo.BulkError:
		return code(err.Cases()[0].Err)
	}
	if mgo.IsDup(err) {
		return 11000
	}
	return err.Error()
}

// refused is the code with which something failed.
func refused(err error) interface{} {
	if err == nil {
		return "accepted"
	}
	return code(err)
}

func step(name string, what func() interface{}) {
	line := M{"step": name}
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case failure:
			line["error"], line["message"] = code(cause.error), cause.Error()
		default:
			panic(cause)
		}
		text, err := json.Marshal(line)
		must(err)
		fmt.Println(string(text))
	}()
	line["outcome"] = what()
}

func count(query interface{}) int {
	found, err := things.Find(query).Count()
	must(err)
	return found
}

func one(query interface{}) M {
	var found M
	must(things.Find(query).Select(M{"text": 0}).One(&found))
	return found
}

func writes() {
	shapes := list{"circle", "square", "star"}
	step("insert", func() interface{} {
		must(things.Insert(M{"_id": 0, "n": 0, "shape": "circle", "deep": M{"list": list{1, M{"two": 2.5}}}}))
		return one(M{"_id": 0})
	})
	step("bulk", func() interface{} {
		var documents list
		for n := 1; n < 300; n++ {
			documents = append(documents, M{"_id": n, "n": n, "shape": shapes[n%3], "text": fmt.Sprintf("%0100d", n)})
		}
		must(things.Insert(documents...))
		return count(nil)
	})
	step("bulk with a duplicate, continued", func() interface{} {
		bulk := things.Bulk()
		bulk.Unordered()
		bulk.Insert(M{"_id": 400}, M{"_id": 0}, M{"_id": 401})
		_, err := bulk.Run()
		return list{refused(err), count(M{"_id": M{"$gte": 400}})}
	})
	step("bulk with a duplicate, stopped", func() interface{} {
		failed := refused(things.Insert(M{"_id": 402}, M{"_id": 0}, M{"_id": 403}))
		removed, err := things.RemoveAll(M{"_id": M{"$gte": 400}})
		must(err)
		return list{failed, removed.Removed}
	})
	step("w=0", func() interface{} {
		// One connection, so that the order holds.
		loose := session.Copy()
		defer loose.Close()
		loose.SetMode(mgo.Strong, true)
		loose.SetSafe(nil)
		thing := loose.DB(db.Name).C("unacknowledged")
		for n := 0; n < 3; n++ {
			must(thing.Insert(M{"_id": n, "n": n}))
		}
		must(thing.Update(M{"_id": 1}, M{"$set": M{"n": 10}}))
		_, err := thing.Upsert(M{"_id": 7}, M{"_id": 7, "n": 70})
		must(err)
		_, err = thing.UpdateAll(nil, M{"$inc": M{"n": 1}})
		must(err)
		must(thing.Remove(M{"_id": 0}))
		must(thing.Insert(M{"_id": 2}))
		var found []M
		must(thing.Find(nil).Sort("_id").All(&found))
		return found
	})
	step("update", func() interface{} {
		must(things.Update(M{"_id": 1}, M{"$set": M{"shape": "line"}, "$push": M{"list": 1}}))
		return one(M{"_id": 1})
	})
	step("update, multi", func() interface{} {
		changed, err := things.UpdateAll(M{"shape": "star"}, M{"$inc": M{"n": 1000}})
		must(err)
		return list{changed.Updated, count(M{"n": M{"$gte": 1000}})}
	})
	step("update, none", func() interface{} {
		return things.Update(M{"_id": "none"}, M{"$set": M{"n": 1}}) == mgo.ErrNotFound
	})
	step("upsert", func() interface{} {
		changed, err := things.Upsert(M{"_id": 500}, M{"$set": M{"n": 5}})
		must(err)
		return list{changed.UpsertedId, one(M{"_id": 500})}
	})
	step("replace", func() interface{} {
		must(things.Update(M{"_id": 500}, M{"n": 6, "new": true}))
		return one(M{"_id": 500})
	})
	step("remove", func() interface{} {
		must(things.Remove(M{"_id": 500}))
		return things.Remove(M{"_id": "none"}) == mgo.ErrNotFound
	})
	step("index", func() interface{} {
		must(things.EnsureIndex(mgo.Index{Key: []string{"shape", "-n"}, Background: true}))
		must(things.EnsureIndex(mgo.Index{Key: []string{"code"}, Unique: true, Sparse: true, Name: "codes"}))
		found, err := things.Indexes()
		must(err)
		var about list
		for _, index := range found {
			about = append(about, list{index.Name, index.Key, index.Unique})
		}
		return about
	})
	step("duplicate key", func() interface{} {
		must(things.Insert(M{"_id": 600, "code": 1}))
		set := M{"$set": M{"code": 1}}
		_, upsert := things.Upsert(M{"_id": 602}, set)
		seen := list{
			refused(things.Insert(M{"_id": 0})),
			refused(things.Insert(M{"_id": 601, "code": 1})),
			refused(things.Update(M{"_id": 0}, set)),
			refused(upsert),
		}
		_, err := things.RemoveAll(M{"_id": M{"$gte": 600}})
		must(err)
		return seen
	})
	step("getLastError, majority", func() interface{} {
		safe := session.Copy()
		defer safe.Close()
		safe.SetSafe(&mgo.Safe{WMode: "majority", WTimeout: 10000})
		own := things.With(safe)
		must(own.Update(M{"_id": 2}, M{"$set": M{"safe": 1}}))
		must(own.Insert(M{"_id": 700}))
		must(own.Remove(M{"_id": 700}))
		return one(M{"_id": 2})["safe"]
	})
	step("getLastError, more members than there are", func() interface{} {
		many := session.Copy()
		defer many.Close()
		many.SetSafe(&mgo.Safe{W: 9, WTimeout: 100})
		failed := refused(things.With(many).Update(M{"_id": 2}, M{"$set": M{"safe": 2}}))
		return list{failed, one(M{"_id": 2})["safe"]}
	})
	step("findAndModify", func() interface{} {
		apply := func(query interface{}, change mgo.Change) interface{} {
			var found M
			_, err := things.Find(query).Select(M{"text": 0}).Apply(change, &found)
			if err == mgo.ErrNotFound {
				return nil
			}
			must(err)
			return found
		}
		return list{
			apply(M{"_id": 3}, mgo.Change{Update: M{"$set": M{"n": -3}}}),
			apply(M{"_id": 3}, mgo.Change{Update: M{"$inc": M{"n": -1}}, ReturnNew: true}),
			apply(M{"_id": 800}, mgo.Change{Update: M{"$set": M{"n": 8}}, Upsert: true, ReturnNew: true}),
			apply(M{"_id": 800}, mgo.Change{Remove: true}),
			apply(M{"_id": "none"}, mgo.Change{Update: M{"$set": M{"n": 1}}}),
		}
	})
}

func numbers(found []M) list {
	sum := 0
	for _, document := range found {
		sum += document["n"].(int)
	}
	return list{len(found), found[0]["_id"], found[len(found)-1]["_id"], sum}
}

func reads() {
	step("cursor with getMore", func() interface{} {
		var found []M
		must(things.Find(nil).Sort("_id").Batch(50).Prefetch(0).All(&found))
		return numbers(found)
	})
	step("cursor with the driver's batches", func() interface{} {
		var found []M
		must(things.Find(nil).All(&found))
		return len(found)
	})
	step("limit and skip over batches", func() interface{} {
		var found []M
		must(things.Find(nil).Sort("_id").Skip(10).Limit(120).Batch(50).All(&found))
		return numbers(found)
	})
	step("killCursors", func() interface{} {
		var found M
		cursor := things.Find(nil).Sort("_id").Batch(10).Iter()
		cursor.Next(&found)
		must(cursor.Close())
		return list{found["_id"], one(M{"_id": 9})["_id"]}
	})
	step("sort", func() interface{} {
		var found []M
		must(things.Find(M{"shape": "circle"}).Select(M{"n": 1}).Sort("-n").Limit(3).All(&found))
		return found
	})
	step("hint and explain", func() interface{} {
		var found []M
		query := things.Find(M{"shape": "square", "n": M{"$lt": 10}}).Select(M{"n": 1})
		must(query.Hint("shape", "-n").All(&found))
		var explained M
		must(things.Find(M{"shape": "square"}).Explain(&explained))
		return list{found, explained["queryPlanner"] != nil}
	})
	step("find with operators", func() interface{} {
		var found []M
		query := M{"$or": list{M{"_id": 5}, M{"n": M{"$in": list{7, 8.0}}}}, "text": M{"$exists": true}}
		must(things.Find(query).Sort("_id").All(&found))
		return list{numbers(found), refused(things.Find(M{"n": M{"$unknown": 1}}).One(nil))}
	})
	step("count", func() interface{} {
		limited, err := things.Find(M{"shape": "circle"}).Skip(90).Limit(20).Count()
		must(err)
		return list{count(nil), count(M{"shape": "circle"}), limited}
	})
	step("distinct", func() interface{} {
		var found []string
		must(things.Find(nil).Distinct("shape", &found))
		sort.Strings(found)
		return found
	})
	step("aggregate", func() interface{} {
		var found []M
		must(things.Pipe([]M{
			{"$match": M{"shape": M{"$exists": true}}},
			{"$group": M{"_id": "$shape", "count": M{"$sum": 1}}},
			{"$sort": M{"_id": 1}},
		}).All(&found))
		return found
	})
	step("mapReduce", func() interface{} {
		var found []struct {
			ID    string `bson:"_id"`
			Value float64
		}
		job := &mgo.MapReduce{
			Map:    "function() { emit(this.shape, 1); }",
			Reduce: "function(key, values) { return Array.sum(values); }",
		}
		_, err := things.Find(M{"_id": M{"$lt": 10}}).MapReduce(job, &found)
		must(err)
		sort.Slice(found, func(i, j int) bool { return found[i].ID < found[j].ID })
		return found
	})
	step("listCollections", func() interface{} {
		names, err := db.CollectionNames()
		must(err)
		return names
	})
	step("listDatabases", func() interface{} {
		names, err := session.DatabaseNames()
		must(err)
		for _, name := range names {
			if name == db.Name {
				return true
			}
		}
		return false
	})
	step("capped collection and tailable cursor", func() interface{} {
		log := db.C("log")
		must(log.Create(&mgo.CollectionInfo{Capped: true, MaxBytes: 4096}))
		must(log.Insert(M{"_id": 0}, M{"_id": 1}))
		var seen list
		var found M
		tail := log.Find(nil).Tail(2 * time.Second)
		for len(seen) < 2 && tail.Next(&found) {
			seen = append(seen, found["_id"])
		}
		must(log.Insert(M{"_id": 2}))
		tail.Next(&found)
		return append(seen, found["_id"], tail.Err(), tail.Close())
	})
	step("read from a secondary", func() interface{} {
		other := session.Copy()
		defer other.Close()
		other.SetMode(mgo.SecondaryPreferred, true)
		var found M
		// Secondaries follow in their own time.
		for tries := 0; tries < 500 && found == nil; tries++ {
			err := things.With(other).Find(M{"_id": 4}).One(&found)
			if err != mgo.ErrNotFound {
				must(err)
			}
		}
		return found["n"]
	})
	step("errors of commands", func() interface{} {
		return list{refused(db.Run(M{"unknownCommand": 1}, nil)), refused(db.C("missing").DropCollection())}
	})
	step("drop", func() interface{} {
		must(things.DropIndexName("codes"))
		must(things.DropCollection())
		left := count(nil)
		must(db.DropDatabase())
		return left
	})
}

func main() {
	url := "mongodb://" + os.Args[1] + "/"
	if len(os.Args) > 3 {
		url += "?replicaSet=" + os.Args[3]
	}
	step("connect", func() interface{} {
		var err error
		session, err = mgo.DialWithTimeout(url, 10*time.Second)
		must(err)
		db = session.DB(os.Args[2])
		things = db.C("things")
		must(db.DropDatabase())
		return true
	})
	if session == nil {
		os.Exit(1)
	}
	writes()
	reads()
}
