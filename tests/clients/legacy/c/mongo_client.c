/* The exercise of libmongo-client (C), which knows old opcodes alone.
 *
 * Arguments: an address and a database. Documents are told by the numbers in them, which is what this driver can read without
 * further libraries. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <glib.h>
#include <mongo.h>

static mongo_sync_connection *server;
static const gchar *name;
static gchar *things, *thing;
static GString *outcome;

static bson *number(const gchar *key, gint32 value) { return bson_build(BSON_TYPE_INT32, key, value, BSON_TYPE_NONE); }

static bson *finished(bson *document)
{
    bson_finish(document);
    return document;
}

static bson *one(const gchar *key, gint32 value) { return finished(number(key, value)); }

static bson *nested(const gchar *key, bson *inner)
{
    bson *document = bson_build_full(BSON_TYPE_DOCUMENT, key, TRUE, finished(inner), BSON_TYPE_NONE);
    return finished(document);
}

static void part(const gchar *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_string_append(outcome, outcome->len ? "," : "");
    g_string_append_vprintf(outcome, format, arguments);
    va_end(arguments);
}

static void say(const gchar *step)
{
    g_print("{\"step\":\"%s\",\"outcome\":[%s]}\n", step, outcome->str);
    g_string_truncate(outcome, 0);
}

/* A number of any type; -1 if there is none. */
static gint64 told(const bson *document, const gchar *key)
{
    bson_cursor *at = document ? bson_find(document, key) : NULL;
    gint64 wide = -1;
    gint32 narrow;
    gdouble real;
    gboolean flag;
    if (!at) return -1;
    if (bson_cursor_get_int32(at, &narrow)) wide = narrow;
    else if (bson_cursor_get_double(at, &real)) wide = (gint64)real;
    else if (bson_cursor_get_boolean(at, &flag)) wide = flag;
    else bson_cursor_get_int64(at, &wide);
    bson_cursor_free(at);
    return wide;
}

/* What getLastError says: the code (-1 without), n, updatedExisting. */
static void last_error(void)
{
    bson *error = NULL;
    if (!mongo_sync_cmd_get_last_error_full(server, name, &error)) {
        part("\"none\"");
        return;
    }
    part("[%d,%d,%d]", (int)told(error, "code"), (int)told(error, "n"), (int)told(error, "updatedExisting"));
    bson_free(error);
}

/* How many documents a query finds, the sum of their `_id`s and that of their `n`s. */
static void found(const gchar *ns, bson *query, bson *fields, gint32 flags, gint32 skip, gint32 batch)
{
    mongo_packet *first = mongo_sync_cmd_query(server, ns, flags, skip, batch, query, fields);
    mongo_sync_cursor *cursor;
    gint64 count = 0, ids = 0, ns_sum = 0;
    if (!first) {
        part("{\"none\":%d}", errno);
        return;
    }
    cursor = mongo_sync_cursor_new(server, ns, first);
    while (mongo_sync_cursor_next(cursor)) {
        bson *document = mongo_sync_cursor_get_data(cursor);
        count++;
        ids += told(document, "_id");
        ns_sum += told(document, "n");
        bson_free(document);
    }
    mongo_sync_cursor_free(cursor);
    part("[%d,%d,%d]", (int)count, (int)ids, (int)ns_sum);
}

static void everything(const gchar *ns)
{
    bson *all = finished(bson_new());
    found(ns, all, NULL, 0, 0, 50);
    bson_free(all);
}

static bson *command(bson *document)
{
    mongo_packet *reply = mongo_sync_cmd_custom(server, name, finished(document));
    bson *answer = NULL;
    if (reply) mongo_wire_reply_packet_get_nth_document(reply, 1, &answer);
    return answer ? finished(answer) : NULL;
}

static void writes(void)
{
    static const gchar *const shapes[] = {"circle", "square", "star"};
    const bson *documents[299];
    bson *document;
    int n;

    document = finished(bson_build(BSON_TYPE_INT32, "_id", 0, BSON_TYPE_INT32, "n", 0, BSON_TYPE_STRING, "shape", "circle", -1,
                                   BSON_TYPE_NONE));
    part("%d", mongo_sync_cmd_insert(server, things, document, NULL));
    last_error();
    everything(things);
    say("insert");

    for (n = 1; n < 300; n++) {
        documents[n - 1] = finished(bson_build(BSON_TYPE_INT32, "_id", n, BSON_TYPE_INT32, "n", n, BSON_TYPE_STRING, "shape",
                                               shapes[n % 3], -1, BSON_TYPE_NONE));
    }
    part("%d", mongo_sync_cmd_insert_n(server, things, 299, documents));
    everything(things);
    say("bulk");

    documents[0] = one("_id", 400);
    documents[1] = one("_id", 0);
    documents[2] = one("_id", 401);
    part("%d", mongo_sync_cmd_insert_n(server, things, 3, documents));
    last_error();
    part("%d", mongo_sync_cmd_delete(server, things, 0, nested("_id", number("$gte", 400))));
    last_error();
    say("bulk with a duplicate, stopped");

    mongo_sync_conn_set_safe_mode(server, FALSE);
    for (n = 0; n < 3; n++) {
        document = finished(bson_build(BSON_TYPE_INT32, "_id", n, BSON_TYPE_INT32, "n", n, BSON_TYPE_NONE));
        part("%d", mongo_sync_cmd_insert(server, thing, document, NULL));
    }
    mongo_sync_cmd_update(server, thing, 0, one("_id", 1), nested("$set", number("n", 10)));
    document = finished(bson_build(BSON_TYPE_INT32, "_id", 7, BSON_TYPE_INT32, "n", 70, BSON_TYPE_NONE));
    mongo_sync_cmd_update(server, thing, MONGO_WIRE_FLAG_UPDATE_UPSERT, one("_id", 7), document);
    mongo_sync_cmd_update(server, thing, MONGO_WIRE_FLAG_UPDATE_MULTI, finished(bson_new()), nested("$inc", number("n", 1)));
    mongo_sync_cmd_delete(server, thing, MONGO_WIRE_FLAG_DELETE_SINGLE, one("_id", 0));
    mongo_sync_cmd_insert(server, thing, one("_id", 2), NULL);
    last_error();
    everything(thing);
    mongo_sync_conn_set_safe_mode(server, TRUE);
    say("w=0");

    part("%d", mongo_sync_cmd_update(server, things, 0, one("_id", 1), nested("$set", number("extra", 1))));
    last_error();
    found(things, one("extra", 1), NULL, 0, 0, 10);
    say("update");

    document = finished(bson_build(BSON_TYPE_STRING, "shape", "star", -1, BSON_TYPE_NONE));
    part("%d", mongo_sync_cmd_update(server, things, MONGO_WIRE_FLAG_UPDATE_MULTI, document, nested("$inc", number("n", 1000))));
    last_error();
    say("update, multi");

    part("%d", mongo_sync_cmd_update(server, things, 0, one("_id", -5), nested("$set", number("n", 1))));
    last_error();
    say("update, none");

    part("%d", mongo_sync_cmd_update(server, things, MONGO_WIRE_FLAG_UPDATE_UPSERT, one("_id", 500), nested("$set", number("n", 5))));
    last_error();
    found(things, one("_id", 500), NULL, 0, 0, 10);
    say("upsert");

    part("%d", mongo_sync_cmd_update(server, things, 0, one("_id", 500), one("other", 6)));
    found(things, one("other", 6), NULL, 0, 0, 10);
    say("replace");

    part("%d", mongo_sync_cmd_delete(server, things, MONGO_WIRE_FLAG_DELETE_SINGLE, one("_id", 500)));
    last_error();
    say("remove");

    document = finished(bson_build(BSON_TYPE_INT32, "shape", 1, BSON_TYPE_INT32, "n", -1, BSON_TYPE_NONE));
    part("%d", mongo_sync_cmd_index_create(server, things, document, MONGO_INDEX_BACKGROUND));
    part("%d", mongo_sync_cmd_index_create(server, things, one("code", 1), MONGO_INDEX_UNIQUE | MONGO_INDEX_SPARSE));
    say("index");

    part("%d", mongo_sync_cmd_insert(server, things, one("_id", 0), NULL));
    last_error();
    document = finished(bson_build(BSON_TYPE_INT32, "_id", 600, BSON_TYPE_INT32, "code", 1, BSON_TYPE_NONE));
    part("%d", mongo_sync_cmd_insert(server, things, document, NULL));
    document = finished(bson_build(BSON_TYPE_INT32, "_id", 601, BSON_TYPE_INT32, "code", 1, BSON_TYPE_NONE));
    part("%d", mongo_sync_cmd_insert(server, things, document, NULL));
    last_error();
    part("%d", mongo_sync_cmd_update(server, things, 0, one("_id", 0), nested("$set", number("code", 1))));
    last_error();
    mongo_sync_cmd_delete(server, things, 0, nested("_id", number("$gte", 600)));
    say("duplicate key");
}

static void concerns(void)
{
    bson *answer;
    mongo_sync_cmd_update(server, things, 0, one("_id", 2), nested("$set", number("safe", 1)));
    answer = command(bson_build(BSON_TYPE_INT32, "getlasterror", 1, BSON_TYPE_STRING, "w", "majority", -1, BSON_TYPE_INT32,
                                "wtimeout", 10000, BSON_TYPE_NONE));
    part("[%d,%d,%d]", (int)told(answer, "n"), (int)told(answer, "updatedExisting"), (int)told(answer, "ok"));
    mongo_sync_cmd_insert(server, things, one("_id", 700), NULL);
    answer = command(bson_build(BSON_TYPE_INT32, "getlasterror", 1, BSON_TYPE_INT32, "w", 1, BSON_TYPE_BOOLEAN, "j", TRUE,
                                BSON_TYPE_NONE));
    part("[%d,%d]", (int)told(answer, "n"), (int)told(answer, "ok"));
    mongo_sync_cmd_delete(server, things, 0, one("_id", 700));
    answer = command(bson_build(BSON_TYPE_INT32, "getlasterror", 1, BSON_TYPE_STRING, "w", "majority", -1, BSON_TYPE_NONE));
    part("[%d,%d]", (int)told(answer, "n"), (int)told(answer, "ok"));
    say("getLastError, majority");

    part("%d", mongo_sync_cmd_reset_error(server, name));
    last_error();
    say("resetError");

    answer = command(bson_build_full(BSON_TYPE_STRING, "findAndModify", FALSE, "things", -1, BSON_TYPE_DOCUMENT, "query", TRUE,
                                     one("_id", 3), BSON_TYPE_DOCUMENT, "update", TRUE, nested("$inc", number("n", -7)),
                                     BSON_TYPE_BOOLEAN, "new", FALSE, TRUE, BSON_TYPE_NONE));
    {
        bson_cursor *at = answer ? bson_find(answer, "value") : NULL;
        bson *value = NULL;
        if (at && bson_cursor_get_document(at, &value)) part("%d", (int)told(value, "n"));
    }
    say("findAndModify");
}

static void reads(void)
{
    bson *all = finished(bson_new()), *query, *answer;
    mongo_packet *first;
    mongo_reply_packet_header header;

    everything(things);
    say("cursor with getMore");

    found(things, all, NULL, 0, 0, 0);
    say("cursor with the driver's batches");

    query = bson_build_full(BSON_TYPE_DOCUMENT, "$query", TRUE, finished(bson_new()), BSON_TYPE_DOCUMENT, "$orderby", TRUE,
                            one("_id", 1), BSON_TYPE_NONE);
    found(things, finished(query), NULL, 0, 10, -5);
    found(things, query, one("n", 1), 0, 290, 3);
    say("limit and skip over batches");

    first = mongo_sync_cmd_query(server, things, 0, 0, 10, query, NULL);
    mongo_wire_reply_packet_get_header(first, &header);
    part("%d,%d", header.returned, header.cursor_id != 0);
    part("%d", mongo_sync_cmd_kill_cursors(server, 1, header.cursor_id, (gint64)0));
    part("%d", mongo_sync_cmd_get_more(server, things, 10, header.cursor_id) == NULL);
    say("killCursors");

    query = nested("n", number("$unknown", 1));
    found(things, query, NULL, 0, 0, 10);
    say("find with operators");

    part("%d", (int)mongo_sync_cmd_count(server, name, "things", NULL));
    part("%d", (int)mongo_sync_cmd_count(server, name, "things", nested("_id", number("$lt", 10))));
    say("count");

    answer = command(bson_build(BSON_TYPE_STRING, "distinct", "things", -1, BSON_TYPE_STRING, "key", "shape", -1, BSON_TYPE_NONE));
    part("%d,%d", (int)told(answer, "ok"), answer && bson_find(answer, "values") != NULL);
    say("distinct");

    {
        bson *stage = nested("$group", bson_build(BSON_TYPE_STRING, "_id", "$shape", -1, BSON_TYPE_NONE));
        bson *stages = finished(bson_build_full(BSON_TYPE_DOCUMENT, "0", TRUE, stage, BSON_TYPE_NONE));
        answer = command(bson_build_full(BSON_TYPE_STRING, "aggregate", FALSE, "things", -1, BSON_TYPE_ARRAY, "pipeline", TRUE,
                                         stages, BSON_TYPE_NONE));
        part("%d,%d", (int)told(answer, "ok"), answer && bson_find(answer, "result") != NULL);
    }
    say("aggregate");

    mongo_sync_conn_set_slaveok(server, TRUE);
    found(things, one("_id", 4), NULL, MONGO_WIRE_FLAG_QUERY_SLAVE_OK, 0, 10);
    say("read from a secondary");

    {
        bson *info = mongo_sync_cmd_exists(server, name, "things");
        part("%d", info != NULL);
        part("%d", mongo_sync_cmd_exists(server, name, "missing") != NULL);
        part("%d", mongo_sync_cmd_create(server, name, "log", MONGO_COLLECTION_CAPPED, (gint64)4096));
    }
    say("listCollections");

    answer = command(number("unknownCommand", 1));
    part("%d", answer == NULL);
    say("errors of commands");

    part("%d", mongo_sync_cmd_index_drop_all(server, things));
    part("%d", mongo_sync_cmd_drop(server, name, "things"));
    part("%d", (int)mongo_sync_cmd_count(server, name, "things", NULL));
    say("drop");
}

int main(int count, char **arguments)
{
    gchar **place;
    if (count < 3) return 2;
    place = g_strsplit(arguments[1], ":", 2);
    name = arguments[2];
    things = g_strconcat(name, ".things", NULL);
    thing = g_strconcat(name, ".unacknowledged", NULL);
    outcome = g_string_new("");
    server = mongo_sync_connect(place[0], atoi(place[1]), FALSE);
    if (!server) {
        g_printerr("no connection: %s\n", strerror(errno));
        return 1;
    }
    mongo_sync_conn_set_safe_mode(server, TRUE);
    command(number("dropDatabase", 1));
    part("%d,%d", mongo_sync_cmd_is_master(server), mongo_sync_cmd_ping(server));
    say("connect");
    writes();
    concerns();
    reads();
    mongo_sync_disconnect(server);
    return 0;
}
