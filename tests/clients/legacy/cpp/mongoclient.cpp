// The exercise of libmongoclient (the "legacy" C++ driver, 1.1).
//
// Arguments: an address, a database, and the replica set's name if the driver is to take the address for a member of one.

#include <cstdlib>
#include <iostream>
#include <set>
#include <unistd.h>
#include <vector>

#include "mongo/client/dbclient.h"

using namespace mongo;

typedef std::auto_ptr<DBClientCursor> Cursor;

static DBClientBase* server;
static std::string name, things, thing;
static const char* const SHAPES[] = {"circle", "square", "star"};

// The outcome of a step: JSON, put together from the parts that it gives.
struct Outcome {
    BSONArrayBuilder parts;

    template <typename T>
    Outcome& operator<<(const T& part) {
        parts << part;
        return *this;
    }
};

static int code(const DBException& error) {
    const OperationException* failed = dynamic_cast<const OperationException*>(&error);
    if (!failed) return error.getCode();
    // Write commands have it with the first statement that failed, or with the write concern.
    const BSONObj about = failed->obj();
    const char* const places[] = {"code", "writeErrors.0.code", "writeConcernError.code", "writeConcernErrors.0.code"};
    for (size_t i = 0; i < sizeof places / sizeof *places; ++i) {
        const BSONElement found = about.getFieldDotted(places[i]);
        if (found.isNumber()) return found.numberInt();
    }
    return error.getCode();
}

template <typename What>
static void step(const std::string& title, What what) {
    BSONObjBuilder line;
    line << "step" << title;
    try {
        Outcome outcome;
        what(outcome);
        line << "outcome" << outcome.parts.arr();
    } catch (const DBException& error) {
        line << "error" << code(error) << "message" << error.toString();
    }
    std::cout << line.obj().jsonString() << std::endl;
}

// The code with which something fails; 0 if it does not.
template <typename What>
static int refused(What what) {
    try {
        what();
        return 0;
    } catch (const DBException& error) {
        return code(error);
    }
}

static std::vector<BSONObj> all(Cursor cursor) {
    std::vector<BSONObj> found;
    while (cursor->more()) found.push_back(cursor->nextSafe().getOwned());
    return found;
}

static BSONArray plain(const std::vector<BSONObj>& documents) {
    BSONArrayBuilder array;
    for (size_t i = 0; i < documents.size(); ++i) array << documents[i];
    return array.arr();
}

static BSONObj one(const std::string& ns, const BSONObj& query) { return server->findOne(ns, Query(query)); }

static std::vector<BSONObj> numbered(int first, int second, int third) {
    std::vector<BSONObj> documents;
    documents.push_back(BSON("_id" << first));
    documents.push_back(BSON("_id" << second));
    documents.push_back(BSON("_id" << third));
    return documents;
}

static const BSONObj AFTER_400 = BSON("_id" << BSON("$gte" << 400));

static void write_steps() {
    step("insert", [](Outcome& to) {
        server->insert(things, BSON("_id" << 0 << "n" << 0 << "shape" << "circle" << "deep"
                                          << BSON("list" << BSON_ARRAY(1 << BSON("two" << 2.5)))));
        to << one(things, BSON("_id" << 0));
    });
    step("bulk", [](Outcome& to) {
        std::vector<BSONObj> documents;
        for (int n = 1; n < 300; ++n) {
            documents.push_back(BSON("_id" << n << "n" << n << "shape" << SHAPES[n % 3] << "text" << std::string(100, 'x')));
        }
        server->insert(things, documents);
        to << static_cast<int>(server->count(things));
    });
    step("bulk with a duplicate, continued", [](Outcome& to) {
        to << refused([] { server->insert(things, numbered(400, 0, 401), InsertOption_ContinueOnError); })
           << static_cast<int>(server->count(things, AFTER_400));
    });
    step("bulk with a duplicate, stopped", [](Outcome& to) {
        to << refused([] { server->insert(things, numbered(402, 0, 403)); });
        to << static_cast<int>(server->count(things, AFTER_400));
        server->remove(things, Query(AFTER_400));
        to << static_cast<int>(server->count(things, AFTER_400));
    });
    step("bulk by the builder", [](Outcome& to) {
        BulkOperationBuilder bulk = server->initializeOrderedBulkOp(things);
        bulk.insert(BSON("_id" << 410));
        bulk.find(BSON("_id" << 410)).updateOne(BSON("$set" << BSON("n" << 1)));
        bulk.find(BSON("_id" << 410)).remove();
        WriteResult result;
        bulk.execute(NULL, &result);
        to << result.nInserted() << result.nMatched() << result.nRemoved();
    });
    step("w=0", [](Outcome& to) {
        const WriteConcern* none = &WriteConcern::unacknowledged;
        for (int n = 0; n < 3; ++n) server->insert(thing, BSON("_id" << n << "n" << n), 0, none);
        server->update(thing, MONGO_QUERY("_id" << 1), BSON("$set" << BSON("n" << 10)), false, false, none);
        server->update(thing, MONGO_QUERY("_id" << 7), BSON("_id" << 7 << "n" << 70), true, false, none);
        server->update(thing, Query(), BSON("$inc" << BSON("n" << 1)), false, true, none);
        server->remove(thing, MONGO_QUERY("_id" << 0), true, none);
        server->insert(thing, BSON("_id" << 2), 0, none);
        to << plain(all(server->query(thing, Query().sort("_id"))));
    });
    step("getLastError after w=0", [](Outcome& to) {
        const WriteConcern* none = &WriteConcern::unacknowledged;
        server->insert(thing, BSON("_id" << 2), 0, none);
        BSONObj told = server->getLastErrorDetailed(name, false, false, 1);
        to << told["code"].numberInt() << told["n"].numberInt() << !told["err"].isNull();
        server->update(thing, MONGO_QUERY("_id" << 2), BSON("$inc" << BSON("n" << 1)), false, false, none);
        told = server->getLastErrorDetailed(name, false, false, 1, 10000);
        to << told["err"].isNull() << told["n"].numberInt() << told["updatedExisting"].trueValue();
        server->update(thing, MONGO_QUERY("_id" << 8), BSON("$set" << BSON("n" << 1)), true, false, none);
        told = server->getLastErrorDetailed(name, false, false, 1);
        to << told["n"].numberInt() << told["updatedExisting"].trueValue() << told["upserted"].numberInt();
        server->remove(thing, MONGO_QUERY("_id" << 8), false, none);
        told = server->getLastErrorDetailed(name, false, false, 1);
        to << told["n"].numberInt() << told["err"].isNull();
        // Nothing was written since.
        one(thing, BSON("_id" << 1));
        to << server->getLastErrorDetailed(name, false, false, 1)["n"].numberInt();
    });
    step("update", [](Outcome& to) {
        server->update(things, MONGO_QUERY("_id" << 1), BSON("$set" << BSON("shape" << "line") << "$push" << BSON("list" << 1)));
        to << one(things, BSON("_id" << 1)).removeField("text");
    });
    step("update, multi", [](Outcome& to) {
        server->update(things, MONGO_QUERY("shape" << "star"), BSON("$inc" << BSON("n" << 1000)), false, true);
        to << static_cast<int>(server->count(things, BSON("n" << BSON("$gte" << 1000))));
    });
    step("upsert", [](Outcome& to) {
        server->update(things, MONGO_QUERY("_id" << 500), BSON("$set" << BSON("n" << 5)), true);
        to << one(things, BSON("_id" << 500));
    });
    step("replace", [](Outcome& to) {
        server->update(things, MONGO_QUERY("_id" << 500), BSON("n" << 6 << "new" << true));
        to << one(things, BSON("_id" << 500));
    });
    step("remove", [](Outcome& to) {
        server->remove(things, MONGO_QUERY("_id" << 500), true);
        to << static_cast<int>(server->count(things));
    });
}

static void index_steps() {
    step("index", [](Outcome& to) {
        server->createIndex(things, IndexSpec().addKey("shape").addKey("n", IndexSpec::kIndexTypeDescending).background());
        server->createIndex(things, IndexSpec().addKey("code").unique().sparse().name("codes"));
        std::list<BSONObj> found = server->getIndexSpecs(things);
        for (std::list<BSONObj>::iterator it = found.begin(); it != found.end(); ++it) {
            to << BSON("name" << (*it)["name"] << "key" << (*it)["key"] << "unique" << (*it)["unique"].trueValue());
        }
    });
    step("duplicate key", [](Outcome& to) {
        server->insert(things, BSON("_id" << 600 << "code" << 1));
        const BSONObj set = BSON("$set" << BSON("code" << 1));
        to << refused([] { server->insert(things, BSON("_id" << 0)); });
        to << refused([] { server->insert(things, BSON("_id" << 601 << "code" << 1)); });
        to << refused([&] { server->update(things, MONGO_QUERY("_id" << 0), set); });
        to << refused([&] { server->update(things, MONGO_QUERY("_id" << 602), set, true); });
        server->remove(things, MONGO_QUERY("_id" << GTE << 600));
    });
    step("getLastError, majority", [](Outcome& to) {
        server->update(things, MONGO_QUERY("_id" << 2), BSON("$set" << BSON("safe" << 1)), false, false, &WriteConcern::majority);
        server->insert(things, BSON("_id" << 700), 0, &WriteConcern::journaled);
        server->remove(things, MONGO_QUERY("_id" << 700), true, &WriteConcern::majority);
        const BSONObj told = server->getLastErrorDetailed(name, false, false, -1);
        to << told["err"].isNull() << one(things, BSON("_id" << 2))["safe"].numberInt();
    });
    step("getLastError, more members than there are", [](Outcome& to) {
        const WriteConcern many = WriteConcern().nodes(9).timeout(100);
        const BSONObj set = BSON("$set" << BSON("safe" << 2));
        to << refused([&] { server->update(things, MONGO_QUERY("_id" << 2), set, false, false, &many); })
           << one(things, BSON("_id" << 2))["safe"].numberInt();
    });
    step("findAndModify", [](Outcome& to) {
        const BSONObj fields = BSON("shape" << 1 << "n" << 1), none;
        to << server->findAndModify(things, BSON("_id" << 3), BSON("$set" << BSON("n" << -3)), false, false, none, fields)
           << server->findAndModify(things, BSON("_id" << 3), BSON("$inc" << BSON("n" << -1)), false, true, none, fields)
           << server->findAndModify(things, BSON("_id" << 800), BSON("$set" << BSON("n" << 8)), true, true)
           << server->findAndRemove(things, BSON("_id" << 800));
    });
}

static void read_steps() {
    step("cursor with getMore", [](Outcome& to) {
        const std::vector<BSONObj> found = all(server->query(things, Query().sort("_id"), 0, 0, NULL, 0, 50));
        double sum = 0;
        for (size_t i = 0; i < found.size(); ++i) sum += found[i]["n"].numberDouble();
        to << static_cast<int>(found.size()) << found[0]["_id"] << found[149]["_id"] << found[299]["_id"] << sum;
    });
    step("cursor with the driver's batches", [](Outcome& to) {
        to << static_cast<int>(all(server->query(things, Query())).size());
    });
    step("limit and skip over batches", [](Outcome& to) {
        const std::vector<BSONObj> found = all(server->query(things, Query().sort("_id"), 120, 10, NULL, 0, 50));
        to << static_cast<int>(found.size()) << found[0]["_id"] << found[119]["_id"];
    });
    step("killCursors", [](Outcome& to) {
        Cursor cursor = server->query(things, Query().sort("_id"), 0, 0, NULL, 0, 10);
        to << cursor->next()["_id"];
        const long long id = cursor->getCursorId();
        cursor.reset();
        to << one(things, BSON("_id" << 9))["_id"];
        // 43, or what stood for it.
        to << refused([&] { all(server->getMore(things, id, 10)); });
    });
    step("exhaust", [](Outcome& to) {
        int seen = 0;
        const stdx::function<void(const BSONObj&)> see = [&](const BSONObj&) { ++seen; };
        const unsigned long long told = server->query(see, things, Query(), NULL, QueryOption_Exhaust);
        to << seen << static_cast<int>(told);
    });
    step("sort", [](Outcome& to) {
        const BSONObj fields = BSON("n" << 1);
        to << plain(all(server->query(things, MONGO_QUERY("shape" << "circle").sort("n", -1), 3, 0, &fields)));
    });
    step("hint and explain", [](Outcome& to) {
        Query query(BSON("shape" << "square" << "n" << LT << 10));
        const BSONObj fields = BSON("n" << 1);
        to << plain(all(server->query(things, query.hint(BSON("shape" << 1 << "n" << -1)), 0, 0, &fields)));
        to << one(things, Query(BSON("shape" << "square")).explain().obj).hasField("queryPlanner");
    });
    step("find with operators", [](Outcome& to) {
        const BSONObj query = BSON("$or" << BSON_ARRAY(BSON("_id" << 5) << BSON("n" << BSON("$in" << BSON_ARRAY(7 << 8.0))))
                                         << "text" << BSON("$exists" << true));
        const std::vector<BSONObj> found = all(server->query(things, Query(query).sort("_id")));
        to << static_cast<int>(found.size()) << found[0]["_id"] << found[1]["_id"];
        to << refused([] { all(server->query(things, MONGO_QUERY("n" << BSON("$unknown" << 1)))); });
    });
    step("count", [](Outcome& to) {
        to << static_cast<int>(server->count(things)) << static_cast<int>(server->count(things, BSON("shape" << "circle")))
           << static_cast<int>(server->count(things, BSON("shape" << "circle"), 0, 20, 90));
    });
    step("distinct", [](Outcome& to) { to << server->distinct(things, "shape"); });
    step("aggregate", [](Outcome& to) {
        const BSONArray pipeline =
            BSON_ARRAY(BSON("$match" << BSON("shape" << BSON("$exists" << true)))
                       << BSON("$group" << BSON("_id" << "$shape" << "count" << BSON("$sum" << 1)))
                       << BSON("$sort" << BSON("_id" << 1)));
        to << plain(all(server->aggregate(things, pipeline)));
    });
    step("group", [](Outcome& to) {
        std::vector<BSONObj> output;
        const char* const reduce = "function(each, sum) { sum.count += 1; }";
        server->group(things, reduce, &output, BSON("count" << 0), MONGO_QUERY("_id" << LT << 10), BSON("shape" << 1));
        to << static_cast<int>(output.size());
    });
    step("mapReduce", [](Outcome& to) {
        const BSONObj answer = server->mapreduce(things,
                                                 "function() { emit(this.shape, 1); }",
                                                 "function(key, values) { return Array.sum(values); }",
                                                 MONGO_QUERY("_id" << LT << 10));
        to << static_cast<int>(answer["results"].Array().size());
    });
    step("listCollections", [](Outcome& to) {
        const std::list<std::string> found = server->getCollectionNames(name);
        std::set<std::string> names(found.begin(), found.end());
        names.erase("system.indexes");
        for (std::set<std::string>::iterator it = names.begin(); it != names.end(); ++it) to << *it;
    });
    step("listDatabases", [](Outcome& to) {
        const std::list<std::string> found = server->getDatabaseNames();
        to << (std::find(found.begin(), found.end(), name) != found.end());
    });
    step("read from a secondary", [](Outcome& to) {
        BSONObj found;
        // Secondaries follow in their own time.
        for (int tries = 0; tries < 500 && found.isEmpty(); ++tries) {
            found = server->findOne(things, MONGO_QUERY("_id" << 4), NULL, QueryOption_SlaveOk);
        }
        to << found["n"];
    });
    step("errors of commands", [](Outcome& to) {
        BSONObj told;
        to << server->runCommand(name, BSON("unknownCommand" << 1), told) << told["code"].numberInt();
    });
    step("drop", [](Outcome& to) {
        server->dropIndexes(things);
        to << server->dropCollection(things) << static_cast<int>(server->count(things)) << server->dropDatabase(name);
    });
}

int main(int count, char** arguments) {
    client::GlobalInstance instance;
    if (count < 3 || !instance.initialized()) return 2;
    name = arguments[2];
    things = name + ".things";
    thing = name + ".unacknowledged";
    std::string why;
    const std::string address = arguments[1];
    const ConnectionString place = count > 3
        ? ConnectionString(ConnectionString::SET, address, arguments[3])
        : ConnectionString(HostAndPort(address));
    server = place.connect(why);
    if (!server) {
        std::cerr << why << std::endl;
        return 1;
    }
    step("connect", [](Outcome& to) {
        bool is_master = false;
        server->isMaster(is_master);
        server->dropDatabase(name);
        to << is_master;
    });
    write_steps();
    index_steps();
    read_steps();
    delete server;
    // The driver's own threads are not waited for.
    std::cout.flush();
    _exit(0);
}
