// The exercise of Poco's MongoDB client 1.11, which knows old opcodes alone and asks for nothing before it begins.
//
// Arguments: an address and a database.

#include <functional>
#include <iostream>
#include <string>

#include <Poco/MongoDB/Array.h>
#include <Poco/MongoDB/Connection.h>
#include <Poco/MongoDB/Cursor.h>
#include <Poco/MongoDB/Database.h>
#include <Poco/MongoDB/DeleteRequest.h>
#include <Poco/MongoDB/Document.h>
#include <Poco/MongoDB/GetMoreRequest.h>
#include <Poco/MongoDB/InsertRequest.h>
#include <Poco/MongoDB/KillCursorsRequest.h>
#include <Poco/MongoDB/QueryRequest.h>
#include <Poco/MongoDB/ResponseMessage.h>
#include <Poco/MongoDB/UpdateRequest.h>

using namespace Poco::MongoDB;
using Poco::Int32;
using Poco::Int64;

static Connection* connection;
static Database* database;
static std::string name;
static const char* const SHAPES[] = {"circle", "square", "star"};
static std::string outcome;

static void part(const std::string& json) { outcome += (outcome.empty() ? "" : ",") + json; }

static void part(Int64 number) { part(std::to_string(number)); }

static void step(const std::string& title, const std::function<void()>& what)
{
    outcome.clear();
    try {
        what();
        std::cout << "{\"step\":\"" << title << "\",\"outcome\":[" << outcome << "]}" << std::endl;
    } catch (const Poco::Exception& error) {
        std::cout << "{\"step\":\"" << title << "\",\"error\":\"" << error.name() << "\",\"message\":\"" << error.what() << "\"}"
                  << std::endl;
    }
}

// A number of any type; -1 if there is none.
static Int64 number(const Document& document, const std::string& field)
{
    if (document.isType<Int32>(field)) return document.get<Int32>(field);
    if (document.isType<Int64>(field)) return document.get<Int64>(field);
    if (document.isType<double>(field)) return static_cast<Int64>(document.get<double>(field));
    if (document.isType<bool>(field)) return document.get<bool>(field);
    return -1;
}

// What getLastError says: the code (-1 without), n, updatedExisting.
static void last_error()
{
    Document::Ptr told = database->getLastErrorDoc(*connection);
    part("[" + std::to_string(number(*told, "code")) + "," + std::to_string(number(*told, "n")) + ","
         + std::to_string(number(*told, "updatedExisting")) + "]");
}

static void insert(const std::string& collection, Int32 first, Int32 last, InsertRequest::Flags flags = InsertRequest::INSERT_DEFAULT)
{
    InsertRequest request(name + "." + collection, flags);
    for (Int32 n = first; n <= last; ++n) {
        request.addNewDocument().add("_id", n).add("n", n).add("shape", std::string(SHAPES[n % 3]));
    }
    connection->sendRequest(request);
}

static void update(const std::string& collection, const std::function<void(Document&)>& selector, const std::string& op,
                   const std::string& field, Int32 value, UpdateRequest::Flags flags = UpdateRequest::UPDATE_DEFAULT)
{
    UpdateRequest request(name + "." + collection, flags);
    selector(request.selector());
    if (op.empty()) request.update().add(field, value);
    else request.update().addNewDocument(op).add(field, value);
    connection->sendRequest(request);
}

static void remove(const std::string& collection, const std::function<void(Document&)>& selector, DeleteRequest::Flags flags)
{
    DeleteRequest request(name + "." + collection, flags);
    selector(request.selector());
    connection->sendRequest(request);
}

static std::function<void(Document&)> id(Int32 value)
{
    return [value](Document& document) { document.add("_id", value); };
}

static void none(Document&) {}

// How many documents a cursor finds, and the sums of their numbers.
static void found(const std::string& collection, const std::function<void(QueryRequest&)>& fill)
{
    Cursor cursor(name, collection);
    fill(cursor.query());
    Int64 count = 0, ids = 0, numbers = 0;
    ResponseMessage* response = &cursor.next(*connection);
    for (;;) {
        for (const Document::Ptr& document : response->documents()) {
            ++count;
            ids += number(*document, "_id");
            numbers += number(*document, "n");
        }
        if (response->cursorID() == 0) break;
        response = &cursor.next(*connection);
    }
    part("[" + std::to_string(count) + "," + std::to_string(ids) + "," + std::to_string(numbers) + "]");
}

static Document::Ptr command(const std::function<void(Document&)>& fill)
{
    Poco::SharedPtr<QueryRequest> request = database->createCommand();
    fill(request->selector());
    ResponseMessage response;
    connection->sendRequest(*request, response);
    return response.documents().at(0);
}

static void writes()
{
    step("insert", [] {
        insert("things", 0, 0);
        last_error();
        found("things", [](QueryRequest&) {});
    });
    step("bulk", [] {
        insert("things", 1, 299);
        last_error();
        part(database->count(*connection, "things"));
    });
    step("bulk with a duplicate, continued", [] {
        insert("things", 298, 301, InsertRequest::INSERT_CONTINUE_ON_ERROR);
        last_error();
        part(database->count(*connection, "things"));
        remove("things", [](Document& all) { all.addNewDocument("_id").add("$gte", 300); }, DeleteRequest::DELETE_DEFAULT);
        last_error();
    });
    step("bulk with a duplicate, stopped", [] {
        insert("things", 299, 301);
        last_error();
        part(database->count(*connection, "things"));
    });
    step("w=0", [] {
        insert("unacknowledged", 0, 2);
        update("unacknowledged", id(1), "$set", "n", 10);
        update("unacknowledged", id(7), "$set", "n", 70, UpdateRequest::UPDATE_UPSERT);
        update("unacknowledged", none, "$inc", "n", 1, UpdateRequest::UPDATE_MULTIUPDATE);
        remove("unacknowledged", id(0), DeleteRequest::DELETE_SINGLE_REMOVE);
        insert("unacknowledged", 2, 2);
        found("unacknowledged", [](QueryRequest&) {});
    });
    step("update", [] {
        update("things", id(1), "$set", "extra", 1);
        last_error();
    });
    step("update, multi", [] {
        update("things", [](Document& all) { all.add("shape", std::string("star")); }, "$inc", "n", 1000,
               UpdateRequest::UPDATE_MULTIUPDATE);
        last_error();
    });
    step("update, none", [] {
        update("things", id(-5), "$set", "n", 1);
        last_error();
    });
    step("upsert", [] {
        update("things", id(500), "$set", "n", 5, UpdateRequest::UPDATE_UPSERT);
        Document::Ptr told = database->getLastErrorDoc(*connection);
        part(number(*told, "n"));
        part(number(*told, "updatedExisting"));
        part(number(*told, "upserted"));
    });
    step("replace", [] {
        update("things", id(500), "", "other", 6);
        last_error();
        found("things", [](QueryRequest& query) { query.selector().add("other", 6); });
    });
    step("remove", [] {
        remove("things", id(500), DeleteRequest::DELETE_SINGLE_REMOVE);
        last_error();
    });
    step("index", [] {
        InsertRequest request(name + ".system.indexes");
        Document& index = request.addNewDocument();
        index.add("ns", name + ".things").add("name", std::string("n_1")).addNewDocument("key").add("n", 1);
        connection->sendRequest(request);
        last_error();
    });
    step("duplicate key", [] {
        insert("things", 0, 0);
        last_error();
        part(database->getLastError(*connection).find("E11000") == 0);
    });
    step("getLastError, majority", [] {
        update("things", id(2), "$set", "safe", 1);
        Document::Ptr told =
            command([](Document& gle) { gle.add("getLastError", 1).add("w", std::string("majority")).add("wtimeout", 10000); });
        part(number(*told, "n"));
        part(number(*told, "ok"));
    });
    step("findAndModify", [] {
        Document::Ptr told = command([](Document& modify) {
            modify.add("findAndModify", std::string("things"));
            modify.addNewDocument("query").add("_id", 3);
            modify.addNewDocument("update").addNewDocument("$inc").add("n", -7);
            modify.add("new", true);
        });
        part(number(*told->get<Document::Ptr>("value"), "n"));
    });
}

static void reads()
{
    step("cursor with getMore", [] { found("things", [](QueryRequest& query) { query.setNumberToReturn(50); }); });
    step("cursor with the driver's batches", [] { found("things", [](QueryRequest&) {}); });
    step("limit and skip over batches", [] {
        found("things", [](QueryRequest& query) {
            query.selector().addNewDocument("$query");
            query.selector().addNewDocument("$orderby").add("_id", 1);
            query.returnFieldSelector().add("n", 1);
            query.setNumberToSkip(10);
            query.setNumberToReturn(-5);
        });
    });
    step("killCursors", [] {
        Cursor cursor(name, "things");
        cursor.query().setNumberToReturn(10);
        ResponseMessage& first = cursor.next(*connection);
        const Int64 dead = first.cursorID();
        part(first.count());
        cursor.kill(*connection);
        GetMoreRequest more(name + ".things", dead);
        ResponseMessage answer;
        connection->sendRequest(more, answer);
        part(answer.count());
        part(answer.cursorID() != 0);
    });
    step("find with operators", [] {
        QueryRequest query(name + ".things");
        query.selector().addNewDocument("n").add("$unknown", 1);
        ResponseMessage answer;
        connection->sendRequest(query, answer);
        part(answer.documents().at(0)->exists("$err"));
        part(number(*answer.documents().at(0), "code"));
    });
    step("count", [] { part(database->count(*connection, "things")); });
    step("distinct", [] {
        Document::Ptr told =
            command([](Document& distinct) { distinct.add("distinct", std::string("things")).add("key", std::string("shape")); });
        part(told->get<Poco::MongoDB::Array::Ptr>("values")->size());
    });
    step("aggregate", [] {
        Document::Ptr told = command([](Document& aggregate) {
            aggregate.add("aggregate", std::string("things"));
            Poco::MongoDB::Array::Ptr pipeline = new Poco::MongoDB::Array();
            pipeline->addNewDocument("0").addNewDocument("$group").add("_id", std::string("$shape"));
            aggregate.add("pipeline", pipeline);
        });
        part(number(*told, "ok"));
        part(told->exists("result") ? told->get<Poco::MongoDB::Array::Ptr>("result")->size() : -1);
    });
    step("listCollections", [] {
        Document::Ptr told = command([](Document& list) { list.add("listCollections", 1); });
        part(number(*told, "ok"));
        part(told->get<Document::Ptr>("cursor")->get<Poco::MongoDB::Array::Ptr>("firstBatch")->size());
    });
    step("read from a secondary", [] {
        found("things", [](QueryRequest& query) {
            query.selector().add("_id", 4);
            query.setFlags(QueryRequest::QUERY_SLAVE_OK);
        });
    });
    step("errors of commands", [] {
        Document::Ptr told = command([](Document& unknown) { unknown.add("unknownCommand", 1); });
        part(number(*told, "ok"));
        part(number(*told, "code"));
    });
    step("drop", [] {
        command([](Document& drop) { drop.add("drop", std::string("things")); });
        part(database->count(*connection, "things"));
    });
}

int main(int count, char** arguments)
{
    if (count < 3) return 2;
    Connection to(arguments[1]);
    name = arguments[2];
    Database in(name);
    connection = &to;
    database = &in;
    step("connect", [] { part(number(*command([](Document& drop) { drop.add("dropDatabase", 1); }), "ok")); });
    writes();
    reads();
    return 0;
}
