package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
	"go.mongodb.org/mongo-driver/event"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/options"
	"go.mongodb.org/mongo-driver/mongo/writeconcern"
)

// A scenario's outcome is data without what belongs to one run.
type scenario struct {
	name string
	run  func(*side) interface{}
}

// What one scenario is given: clients of one side and a database. Scenarios panic where they fail.
type side struct {
	uri string
	// One address, with directConnection=true.
	single   string
	database string
	ctx      context.Context
	client   *mongo.Client
	log      *commandLog
	clients  []*mongo.Client
}

// The commands that a client sent, and the replies.
type commandLog struct {
	sync.Mutex
	commands []sent
	replies  []sent
}

type sent struct {
	name     string
	document bson.Raw
}

func (log *commandLog) names() []string {
	log.Lock()
	defer log.Unlock()
	names := []string{}
	for _, one := range log.commands {
		// When the driver ends its sessions is its own affair.
		if one.name != "endSessions" {
			names = append(names, one.name)
		}
	}
	return names
}

func last(log *commandLog, list *[]sent, name string) bson.Raw {
	log.Lock()
	defer log.Unlock()
	for n := len(*list) - 1; n >= 0; n-- {
		if (*list)[n].name == name {
			return (*list)[n].document
		}
	}
	return bson.Raw{5, 0, 0, 0, 0}
}

// The id of the cursor that the last reply to this command opened.
func (log *commandLog) openedCursor(name string) int64 {
	return last(log, &log.replies, name).Lookup("cursor", "id").Int64()
}

func (log *commandLog) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{
		Started: func(_ context.Context, one *event.CommandStartedEvent) {
			log.Lock()
			defer log.Unlock()
			log.commands = append(log.commands, sent{one.CommandName, one.Command})
		},
		Succeeded: func(_ context.Context, one *event.CommandSucceededEvent) {
			log.Lock()
			defer log.Unlock()
			log.replies = append(log.replies, sent{one.CommandName, one.Reply})
		},
	}
}

// A new client, closed at the end. `extra` is appended to the URI.
func (s *side) connect(extra string, more ...*options.ClientOptions) (*mongo.Client, *commandLog) {
	uri := s.uri
	if extra != "" {
		uri += "&" + extra
	}
	return s.connectTo(uri, more...)
}

func (s *side) connectTo(uri string, more ...*options.ClientOptions) (*mongo.Client, *commandLog) {
	log := &commandLog{}
	own := options.Client().ApplyURI(uri).SetServerSelectionTimeout(20 * time.Second).SetMonitor(log.monitor())
	client, err := mongo.Connect(s.ctx, append([]*options.ClientOptions{own}, more...)...)
	check(err)
	s.clients = append(s.clients, client)
	return client, log
}

func (s *side) collection(name string, more ...*options.CollectionOptions) *mongo.Collection {
	return s.client.Database(s.database).Collection(name, more...)
}

// The documents 0 to count - 1 on every node, so that a read of any secondary sees them.
func (s *side) seed(name string, count int, more bson.D) *mongo.Collection {
	documents := make([]interface{}, count)
	for n := range documents {
		documents[n] = append(bson.D{{Key: "_id", Value: n}}, more...)
	}
	everywhere := writeconcern.New(writeconcern.W(3), writeconcern.WTimeout(30*time.Second))
	_, err := s.collection(name, options.Collection().SetWriteConcern(everywhere)).InsertMany(s.ctx, documents)
	check(err)
	return s.collection(name)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(seen, wanted interface{}) {
	if !reflect.DeepEqual(seen, wanted) {
		panic(fmt.Sprintf("expected %v, saw %v", wanted, seen))
	}
}

// Every document of a cursor.
func all(ctx context.Context, cursor *mongo.Cursor, err error) []bson.M {
	check(err)
	found := []bson.M{}
	check(cursor.All(ctx, &found))
	return found
}

func ids(documents []bson.M) []int {
	found := []int{}
	for _, one := range documents {
		id, _ := one["_id"].(int32)
		found = append(found, int(id))
	}
	return found
}

func upTo(count int) []int {
	numbers := make([]int, count)
	for n := range numbers {
		numbers[n] = n
	}
	return numbers
}

// The error that must have come, with this code.
func refused(err error, code int) interface{} {
	if err == nil {
		panic(fmt.Sprintf("expected an error with code %d", code))
	}
	var known mongo.ServerError
	if code != 0 && (!errors.As(err, &known) || !known.HasErrorCode(code)) {
		panic(fmt.Sprintf("expected code %d, saw %v", code, err))
	}
	told := bson.M{"type": fmt.Sprintf("%T", err), "message": err.Error()}
	var command mongo.CommandError
	if errors.As(err, &command) {
		labels := append([]string{}, command.Labels...)
		sort.Strings(labels)
		told["code"], told["codeName"], told["labels"] = command.Code, command.Name, labels
	}
	return told
}

var numbersInText = regexp.MustCompile(`txnNumber: \d+`)

func tidy(value interface{}, database string) interface{} {
	switch value := value.(type) {
	case bson.M:
		kept := map[string]interface{}{}
		for key, inner := range value {
			kept[key] = tidy(inner, database)
		}
		return kept
	case bson.D:
		return tidy(value.Map(), database)
	case string:
		// Which number a transaction has is a matter of which pooled session it got.
		return numbersInText.ReplaceAllString(strings.ReplaceAll(value, database, "<database>"), "txnNumber: <n>")
	case primitive.ObjectID, primitive.Timestamp, primitive.DateTime, primitive.Binary:
		return fmt.Sprintf("<%T>", value)
	}
	if list := reflect.ValueOf(value); value != nil && list.Kind() == reflect.Slice {
		kept := make([]interface{}, list.Len())
		for n := range kept {
			kept[n] = tidy(list.Index(n).Interface(), database)
		}
		return kept
	}
	return value
}

func runOne(s *side, one scenario) (line map[string]interface{}) {
	start := time.Now()
	line = map[string]interface{}{"scenario": one.name}
	defer func() {
		if failure := recover(); failure != nil {
			line["failed"] = fmt.Sprint(failure)
		}
		line["ms"] = time.Since(start).Milliseconds()
		for _, client := range s.clients {
			// Some scenarios end theirs themselves.
			_ = client.Disconnect(context.Background())
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.ctx = ctx
	s.client, s.log = s.connect("")
	line["outcome"] = tidy(one.run(s), s.database)
	return line
}

// Runs all and prints one JSON line each. The last line tells how many ran and how many failed.
func runAll(scenarios []scenario) {
	uri, single, database := os.Args[1], os.Args[2], os.Args[3]
	failures := 0
	out := json.NewEncoder(os.Stdout)
	for _, one := range scenarios {
		line := runOne(&side{uri: uri, single: single, database: database}, one)
		if line["failed"] != nil {
			failures++
		}
		check(out.Encode(line))
	}
	line := runOne(&side{uri: uri, single: single, database: database}, scenario{"the end", func(s *side) interface{} {
		check(s.client.Database(database).Drop(s.ctx))
		return nil
	}})
	if line["failed"] != nil {
		panic(line["failed"])
	}
	check(out.Encode(map[string]int{"scenarios": len(scenarios), "failures": failures}))
}
