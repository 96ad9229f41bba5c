// The exercise of the Java driver 3.6, by the interface that it has had since 2.x.
//
// Arguments: an address, a database, and the replica set's name if the driver is to take the address for a member of one.

import com.mongodb.*;
import java.util.*;
import java.util.concurrent.TimeUnit;
import java.util.logging.*;

public class Exercise {
    interface What {
        Object get();
    }

    static MongoClient client;
    static DB db;
    static DBCollection things;
    static final String[] SHAPES = {"circle", "square", "star"};

    static DBObject doc(Object... parts) {
        BasicDBObject document = new BasicDBObject();
        for (int i = 0; i < parts.length; i += 2) document.put((String) parts[i], parts[i + 1]);
        return document;
    }

    static List<Object> list(Object... parts) {
        return Arrays.asList(parts);
    }

    static Object code(MongoException error) {
        if (error instanceof BulkWriteException) {
            return ((BulkWriteException) error).getWriteErrors().get(0).getCode();
        }
        if (error instanceof WriteConcernException) return ((WriteConcernException) error).getCode();
        return error.getCode();
    }

    static Object refused(Runnable what) {
        try {
            what.run();
            return "accepted";
        } catch (MongoException error) {
            return code(error);
        }
    }

    static void step(String title, What what) {
        DBObject line = doc("step", title);
        try {
            line.put("outcome", what.get());
        } catch (MongoException error) {
            line.put("error", code(error));
            line.put("message", error.getMessage());
        }
        System.out.println(com.mongodb.util.JSON.serialize(line));
    }

    // The number of documents, the first and the last `_id`, and the sum of `n`.
    static List<Object> sum(List<DBObject> found) {
        long sum = 0;
        for (DBObject each : found) sum += ((Number) each.get("n")).longValue();
        return list(found.size(), found.get(0).get("_id"), found.get(found.size() - 1).get("_id"), sum);
    }

    static List<DBObject> numbered(int... ids) {
        List<DBObject> documents = new ArrayList<>();
        for (int id : ids) documents.add(doc("_id", id));
        return documents;
    }

    // Waits until what was written without acknowledgement, or on another node, is seen.
    static DBObject settled(DBCollection collection, DBObject query, ReadPreference preference) {
        for (int tries = 0; tries < 500; tries++) {
            DBObject found = collection.findOne(query, null, null, preference);
            if (found != null) return found;
            try {
                Thread.sleep(10);
            } catch (InterruptedException error) {
                throw new RuntimeException(error);
            }
        }
        throw new RuntimeException("never seen: " + query);
    }

    static void writes() {
        DBObject after400 = doc("_id", doc("$gte", 400));
        step("insert", () -> {
            things.insert(doc("_id", 0, "n", 0, "shape", "circle", "deep", doc("list", list(1, doc("two", 2.5)))));
            return things.findOne(doc("_id", 0));
        });
        step("bulk", () -> {
            List<DBObject> documents = new ArrayList<>();
            for (int n = 1; n < 300; n++) {
                documents.add(doc("_id", n, "n", n, "shape", SHAPES[n % 3], "text", "x".repeat(100)));
            }
            things.insert(documents);
            return things.count();
        });
        step("bulk with a duplicate, continued", () -> {
            InsertOptions options = new InsertOptions().continueOnError(true);
            Object failed = refused(() -> things.insert(numbered(400, 0, 401), options));
            return list(failed, things.count(after400));
        });
        step("bulk with a duplicate, stopped", () ->
            list(refused(() -> things.insert(numbered(402, 0, 403))), things.remove(after400).getN()));
        step("w=0", () -> {
            DBCollection thing = db.getCollection("unacknowledged");
            thing.setWriteConcern(WriteConcern.UNACKNOWLEDGED);
            for (int n = 0; n < 3; n++) thing.insert(doc("_id", n, "n", n));
            settled(thing, doc("_id", 2), ReadPreference.primary());
            thing.update(doc("_id", 1), doc("$set", doc("n", 10)));
            thing.update(doc("_id", 7), doc("_id", 7, "n", 70), true, false);
            thing.update(doc(), doc("$inc", doc("n", 1)), false, true);
            thing.remove(doc("_id", 0));
            thing.insert(doc("_id", 2));
            thing.insert(doc("_id", 9));
            settled(thing, doc("_id", 9), ReadPreference.primary());
            return thing.find().sort(doc("_id", 1)).toArray();
        });
        step("update", () -> {
            WriteResult result = things.update(doc("_id", 1), doc("$set", doc("shape", "line"), "$push", doc("list", 1)));
            return list(result.getN(), result.isUpdateOfExisting(), things.findOne(doc("_id", 1), doc("text", 0)));
        });
        step("update, multi", () ->
            list(things.updateMulti(doc("shape", "star"), doc("$inc", doc("n", 1000))).getN(), things.count(doc("n", doc("$gte", 1000)))));
        step("update, none", () -> things.update(doc("_id", "none"), doc("$set", doc("n", 1))).getN());
        step("upsert", () -> {
            WriteResult result = things.update(doc("_id", 500), doc("$set", doc("n", 5)), true, false);
            return list(result.getN(), result.isUpdateOfExisting(), result.getUpsertedId(), things.findOne(doc("_id", 500)));
        });
        step("replace", () -> {
            things.save(doc("_id", 500, "n", 6));
            return things.findOne(doc("_id", 500));
        });
        step("remove", () -> list(things.remove(doc("_id", 500)).getN(), things.remove(doc("_id", "none")).getN()));
        step("index", () -> {
            things.createIndex(doc("shape", 1, "n", -1), doc("background", true));
            things.createIndex(doc("code", 1), doc("unique", true, "sparse", true, "name", "codes"));
            List<Object> found = new ArrayList<>();
            for (DBObject each : things.getIndexInfo()) found.add(list(each.get("name"), each.get("key"), each.get("unique")));
            return found;
        });
        step("duplicate key", () -> {
            things.insert(doc("_id", 600, "code", 1));
            DBObject set = doc("$set", doc("code", 1));
            List<Object> seen = list(
                refused(() -> things.insert(doc("_id", 0))),
                refused(() -> things.insert(doc("_id", 601, "code", 1))),
                refused(() -> things.update(doc("_id", 0), set)),
                refused(() -> things.update(doc("_id", 602), set, true, false)));
            things.remove(doc("_id", doc("$gte", 600)));
            return seen;
        });
        step("getLastError, majority", () -> {
            WriteConcern safe = WriteConcern.MAJORITY.withWTimeout(10, TimeUnit.SECONDS);
            things.insert(doc("_id", 700), safe);
            int changed = things.update(doc("_id", 2), doc("$set", doc("safe", 1)), false, false, safe).getN();
            return list(changed, things.remove(doc("_id", 700), safe).getN());
        });
        step("getLastError, more members than there are", () -> {
            WriteConcern many = new WriteConcern(9, 100);
            Object failed = refused(() -> things.update(doc("_id", 2), doc("$set", doc("safe", 2)), false, false, many));
            return list(failed, things.findOne(doc("_id", 2)).get("safe"));
        });
        step("findAndModify", () -> {
            DBObject fields = doc("n", 1);
            return list(
                things.findAndModify(doc("_id", 3), fields, null, false, doc("$set", doc("n", -3)), false, false),
                things.findAndModify(doc("_id", 3), fields, null, false, doc("$inc", doc("n", -1)), true, false),
                things.findAndModify(doc("_id", 800), fields, null, false, doc("$set", doc("n", 8)), true, true),
                things.findAndModify(doc("_id", 800), fields, null, true, null, false, false),
                things.findAndModify(doc("_id", "none"), fields, null, false, doc("$set", doc("n", 1)), false, false));
        });
    }

    static void reads() {
        step("cursor with getMore", () -> sum(things.find().sort(doc("_id", 1)).batchSize(50).toArray()));
        step("cursor with the driver's batches", () -> things.find().toArray().size());
        step("limit and skip over batches", () ->
            sum(things.find().sort(doc("_id", 1)).skip(10).limit(120).batchSize(50).toArray()));
        step("killCursors", () -> {
            DBCursor cursor = things.find().sort(doc("_id", 1)).batchSize(10);
            Object first = cursor.next().get("_id");
            cursor.close();
            return list(first, things.findOne(doc("_id", 9)).get("_id"));
        });
        step("sort", () -> things.find(doc("shape", "circle"), doc("n", 1)).sort(doc("n", -1)).limit(3).toArray());
        step("hint and explain", () -> {
            DBCursor found = things.find(doc("shape", "square", "n", doc("$lt", 10)), doc("n", 1));
            return list(found.hint(doc("shape", 1, "n", -1)).toArray(),
                things.find(doc("shape", "square")).explain().containsField("queryPlanner"));
        });
        step("find with operators", () -> {
            DBObject query = doc("$or", list(doc("_id", 5), doc("n", doc("$in", list(7, 8.0)))), "text", doc("$exists", true));
            return list(sum(things.find(query).sort(doc("_id", 1)).toArray()),
                refused(() -> things.find(doc("n", doc("$unknown", 1))).toArray()));
        });
        step("count", () -> list(things.count(), things.find(doc("shape", "circle")).skip(90).limit(20).size()));
        step("distinct", () -> things.distinct("shape"));
        step("aggregate", () -> {
            List<DBObject> pipeline = Arrays.asList(doc("$match", doc("shape", doc("$exists", true))),
                doc("$group", doc("_id", "$shape", "count", doc("$sum", 1))), doc("$sort", doc("_id", 1)));
            List<Object> found = new ArrayList<>();
            for (DBObject each : things.aggregate(pipeline).results()) found.add(each);
            return found;
        });
        step("group", () -> {
            Object answer = things.group(doc("shape", true), doc("_id", doc("$lt", 10)), doc("count", 0),
                "function(each, sum) { sum.count += 1; }");
            Set<String> found = new TreeSet<>();
            for (Object each : (List<?>) answer) {
                DBObject one = (DBObject) each;
                found.add(one.get("shape") + " " + ((Number) one.get("count")).intValue());
            }
            return found;
        });
        step("listCollections", () -> new TreeSet<String>(db.getCollectionNames()));
        step("listDatabases", () -> client.getDatabaseNames().contains(db.getName()));
        step("read from a secondary", () -> settled(things, doc("_id", 4), ReadPreference.secondaryPreferred()).get("n"));
        step("errors of commands", () -> db.command("unknownCommand").get("code"));
        step("drop", () -> {
            things.dropIndex("codes");
            things.drop();
            long left = things.count();
            db.dropDatabase();
            return left;
        });
    }

    public static void main(String[] arguments) {
        LogManager.getLogManager().reset();
        String options = arguments.length > 2 ? "?replicaSet=" + arguments[2] : "";
        client = new MongoClient(new MongoClientURI("mongodb://" + arguments[0] + "/" + options));
        db = client.getDB(arguments[1]);
        things = db.getCollection("things");
        step("connect", () -> {
            db.dropDatabase();
            return true;
        });
        writes();
        reads();
        client.close();
    }
}
