//! Commands of old servers, sent as their drivers did (OP_QUERY), through the proxy in front of a server that has dropped them.

mod old_client;

use bson::{Bson, Document, doc};

use crate::support::{old_set, raw::Raw, shared_proxy};
use old_client::OldClient;

fn code(text: &str) -> Bson {
    Bson::JavaScriptCode(text.to_owned())
}

/// Fills `d.items` with 11 documents in three groups, the last without any.
fn fill(client: &mut OldClient, database: &str) {
    let mut items: Vec<Document> = (0..10)
        .map(|i| doc! {"_id": i, "a": 2 - i % 3, "b": i, "in": {"x": i % 2}, "at": [i, i]})
        .collect();
    items.push(doc! {"_id": 20, "b": 4});
    let insert = client.command(database, doc! {"insert": "items", "documents": items});
    assert_eq!(insert.get_i32("n").unwrap(), 11, "{insert}");
}

fn ok(reply: &Document) -> bool {
    matches!(reply.get("ok"), Some(Bson::Double(ok)) if *ok == 1.0)
}

#[test]
fn results_come_in_one_document_as_they_did() {
    let mut client = OldClient::connect(shared_proxy().address);
    let d = "old_commands_results";
    fill(&mut client, d);
    let pipeline = vec![doc! {"$match": {"a": 1}}, doc! {"$project": {"b": 1}}];
    let reply = client.command(d, doc! {"aggregate": "items", "pipeline": pipeline});
    let expected = doc! {"result": [{"_id": 1, "b": 1}, {"_id": 4, "b": 4}, {"_id": 7, "b": 7}], "ok": 1.0};
    assert_eq!(reply, expected);
    let explained = client.command(d, doc! {"aggregate": "items", "pipeline": [], "explain": true});
    assert!(explained.contains_key("queryPlanner"), "{explained}");
    let cursor = client.command(
        d,
        doc! {"aggregate": "items", "pipeline": [], "cursor": {"batchSize": 2}},
    );
    assert_eq!(
        cursor
            .get_document("cursor")
            .unwrap()
            .get_array("firstBatch")
            .unwrap()
            .len(),
        2
    );

    // 101 documents fill a first batch where nothing is said; 17 MiB fit into no document.
    let many = vec![
        doc! {"$limit": 1},
        doc! {"$project": {"x": {"$range": [0, 300]}}},
        doc! {"$unwind": "$x"},
    ];
    let reply = client.command(d, doc! {"aggregate": "items", "pipeline": many.clone()});
    assert_eq!(reply.get_array("result").unwrap().len(), 300);
    let large = client.command(
        d,
        doc! {"insert": "large", "documents": [{"_id": 1, "x": "x".repeat(60_000)}]},
    );
    assert!(ok(&large));
    let mut much = many;
    much[1] = doc! {"$addFields": {"y": {"$range": [0, 300]}}};
    much[2] = doc! {"$unwind": "$y"};
    let reply = client.command(d, doc! {"aggregate": "large", "pipeline": much});
    assert_eq!(
        reply.get_i32("code").unwrap(),
        16389,
        "{}",
        reply.get_str("errmsg").unwrap()
    );
    client.command(d, doc! {"dropDatabase": 1});
}

#[test]
fn groups_are_as_they_were() {
    let mut client = OldClient::connect(shared_proxy().address);
    let d = "old_commands_group";
    fill(&mut client, d);
    let group = doc! {
        "ns": "items", "key": {"a": 1}, "initial": {"n": 0}, "$reduce": code("function(o, p) { p.n += o.b; }"),
    };
    let reply = client.command(d, doc! {"group": group.clone()});
    let expected = doc! {
        "retval": [{"a": 2.0, "n": 18.0}, {"a": 1.0, "n": 12.0}, {"a": 0.0, "n": 15.0}, {"a": Bson::Null, "n": 4.0}],
        "count": 11_i64, "keys": 4_i64, "ok": 1.0,
    };
    assert_eq!(reply, expected);

    let mut with = group.clone();
    with.remove("key");
    with.insert(
        "$keyf",
        code("function(o) { return {even: o.b % 2 == 0}; } // by parity"),
    );
    with.insert("cond", doc! {"b": {"$gt": 4}});
    with.insert("finalize", code("function(p) { return p.even + ':' + p.n; }"));
    let scope = bson::JavaScriptCodeWithScope {
        code: "function(o, p) { p.n += o.b * by; }".to_owned(),
        scope: doc! {"by": 10},
    };
    with.insert("$reduce", Bson::JavaScriptCodeWithScope(scope));
    let reply = client.command(d, doc! {"group": with});
    assert_eq!(
        reply.get_array("retval").unwrap(),
        &Bson::from(vec!["false:210", "true:140"])
            .as_array()
            .unwrap()
            .clone(),
        "{reply}"
    );

    // Drivers of the time between send it by OP_MSG.
    let by_msg = async |command: Document| {
        let mut raw = Raw::connect(shared_proxy().address.to_string()).await.unwrap();
        raw.command(&command).await.unwrap().body
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let reply = runtime.block_on(by_msg(doc! {"group": group.clone(), "$db": d}));
    assert_eq!(reply.get_array("retval").unwrap().len(), 4, "{reply}");

    let mut empty = group;
    empty.insert("ns", "nothing");
    let reply = client.command(d, doc! {"group": empty});
    assert_eq!(
        reply,
        doc! {"retval": [], "count": 0_i64, "keys": 0_i64, "ok": 1.0}
    );
    let reply = client.command(d, doc! {"group": {"ns": "items"}});
    assert_eq!(reply.get_i32("code").unwrap(), 9, "{reply}");
    client.command(d, doc! {"dropDatabase": 1});
}

#[test]
fn what_is_near_comes_with_its_distance() {
    let mut client = OldClient::connect(shared_proxy().address);
    let d = "old_commands_near";
    fill(&mut client, d);
    let index = doc! {"key": {"at": "2d"}, "name": "at_2d"};
    client.command(d, doc! {"createIndexes": "items", "indexes": [index]});
    let reply = client.command(
        d,
        doc! {"geoNear": "items", "near": [0, 0], "num": 2, "includeLocs": true},
    );
    let results = reply.get_array("results").unwrap();
    assert_eq!(results.len(), 2);
    let second = results[1].as_document().unwrap();
    assert_eq!(second.keys().collect::<Vec<_>>(), ["dis", "loc", "obj"]);
    assert!((second.get_f64("dis").unwrap() - 2f64.sqrt()).abs() < 1e-9);
    let object = second.get_document("obj").unwrap();
    assert_eq!(object.keys().collect::<Vec<_>>(), ["_id", "a", "b", "in", "at"]);
    assert!(reply.get_document("stats").unwrap().contains_key("avgDistance"));
    client.command(d, doc! {"dropDatabase": 1});
}

#[test]
fn the_catalog_can_be_read_and_written_as_collections() {
    let mut client = OldClient::connect(shared_proxy().address);
    let d = "old_commands_catalog";
    client.command(d, doc! {"dropDatabase": 1});
    let index = |name: &str, more: Document| {
        let mut index = doc! {"ns": format!("{d}.c"), "key": {name: 1}, "name": format!("{name}_1")};
        index.extend(more);
        index
    };
    let old = [
        index(
            "x",
            doc! {"unique": true, "dropDups": true, "v": 0, "w": 1, "background": true},
        ),
        index("y", doc! {"sparse": Bson::Null, "safe": true}),
    ];
    client.insert(&format!("{d}.system.indexes"), &old);
    let error = client.command(d, doc! {"getlasterror": 1});
    assert_eq!(error.get("err"), Some(&Bson::Null), "{error}");
    client.insert(
        &format!("{d}.system.indexes"),
        &[doc! {"key": {"z": 1}, "name": "z_1"}],
    );
    let error = client.command(d, doc! {"getlasterror": 1});
    assert_eq!(error.get_i32("code").unwrap(), 67, "{error}");

    let indexes = format!("{d}.system.indexes");
    let found = client.find(
        &indexes,
        &doc! {"ns": format!("{d}.c")},
        Some(&doc! {"ns": 0}),
        [0, 0],
    );
    let names: Vec<_> = found
        .documents
        .iter()
        .map(|d| d.get_str("name").unwrap())
        .collect();
    assert_eq!(names, ["_id_", "x_1", "y_1"]);
    assert!(found.documents.iter().all(|index| !index.contains_key("ns")));
    let by_query = doc! {"$query": {"name": {"$ne": "_id_"}}, "$orderby": {"name": -1}};
    let found = client.find(&indexes, &by_query, None, [0, -1]);
    assert_eq!(found.documents.len(), 1);
    assert_eq!(found.documents[0].get_str("name").unwrap(), "y_1");
    assert_eq!(found.documents[0].get_str("ns").unwrap(), format!("{d}.c"));

    // A first batch that does not hold all goes on with a cursor.
    let first = client.find(&indexes, &doc! {}, None, [1, 1 + 1]);
    assert_eq!((first.documents.len(), first.cursor), (2, 0));
    let first = client.find(&indexes, &doc! {}, None, [0, 2]);
    assert_eq!(first.documents.len(), 2);
    let rest = client.get_more(&indexes, first.cursor);
    assert_eq!((rest.documents.len(), rest.cursor), (1, 0));

    let found = client.find(&format!("{d}.system.namespaces"), &doc! {}, None, [0, 0]);
    let names: Vec<_> = found
        .documents
        .iter()
        .map(|d| d.get_str("name").unwrap())
        .collect();
    let expected = ["c", "system.indexes", "c.$_id_", "c.$x_1", "c.$y_1"].map(|name| format!("{d}.{name}"));
    assert_eq!(names, expected);
    let count = client.command(
        d,
        doc! {"count": "system.indexes", "query": {"ns": format!("{d}.c")}},
    );
    assert_eq!(count.get_i32("n").unwrap(), 3, "{count}");

    let more = doc! {"ns": format!("{d}.c"), "key": {"more": 1}, "name": "more_1", "bucketSize": 3};
    let reply = client.command(d, doc! {"insert": "system.indexes", "documents": [more]});
    assert_eq!(reply, doc! {"n": 1, "ok": 1.0});
    let bad = doc! {"ns": format!("{d}.c"), "key": {"bad": "none"}, "name": "bad"};
    let reply = client.command(d, doc! {"insert": "system.indexes", "documents": [bad]});
    let error = reply.get_array("writeErrors").unwrap()[0].as_document().unwrap();
    assert_eq!(error.get_i32("code").unwrap(), 67, "{reply}");
    let listed = client.command(d, doc! {"listIndexes": "c"});
    let listed = listed
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap();
    let of = |index: &Bson| index.as_document().unwrap().get_str("ns").unwrap().to_owned();
    assert_eq!(
        listed.iter().map(of).collect::<Vec<_>>(),
        vec![format!("{d}.c"); 4]
    );
    client.command(d, doc! {"dropDatabase": 1});
    let gone = client.find(&indexes, &doc! {}, None, [0, 0]);
    assert!(gone.documents.is_empty());
}

#[test]
fn operations_are_listed_and_killed_by_queries() {
    let mut client = OldClient::connect(shared_proxy().address);
    let found = client.find("admin.$cmd.sys.inprog", &doc! {"$all": true}, None, [0, -1]);
    assert_eq!(found.documents.len(), 1);
    assert!(!found.documents[0].get_array("inprog").unwrap().is_empty());
    let killed = client.find(
        "admin.$cmd.sys.killop",
        &doc! {"op": 2_000_000_000},
        None,
        [0, -1],
    );
    assert!(killed.documents[0].contains_key("info"), "{killed:?}");
    let unlocked = client.find("admin.$cmd.sys.unlock", &doc! {}, None, [0, -1]);
    assert!(!ok(&unlocked.documents[0]), "{unlocked:?}");
}

/// What is gone says so and tells the way out; what servers until 4.2 took from old drivers is taken still.
#[test]
fn commands_work_or_say_the_way_out() {
    let mut client = OldClient::connect(shared_proxy().address);
    let mut old = OldClient::connect(old_set().address(0).parse().unwrap());
    let d = "old_commands_rest";
    for client in [&mut client, &mut old] {
        client.command(d, doc! {"dropDatabase": 1});
        fill(client, d);
    }
    let refused = [
        (doc! {"eval": code("function() {}")}, 59, "application"),
        (doc! {"$eval": code("1")}, 59, "application"),
        (doc! {"clone": "a"}, 59, "mongodump"),
        (doc! {"copydb": 1, "fromdb": d, "todb": "e"}, 59, "mongodump"),
        (doc! {"cloneCollection": "d.c"}, 59, "mongoexport"),
        (doc! {"repairDatabase": 1}, 59, "compact"),
        (doc! {"parallelCollectionScan": "items"}, 59, "finds"),
        (doc! {"geoSearch": "items"}, 59, "$geoNear"),
        (doc! {"reIndex": "items"}, 20, "drop the index"),
        (
            doc! {"authenticate": 1, "user": "u", "nonce": "n", "key": "k"},
            18,
            "without authentication",
        ),
    ];
    for (command, code, way_out) in refused {
        let reply = client.command(d, command.clone());
        assert_eq!(reply.get_i32("code").unwrap(), code, "{command}: {reply}");
        assert!(reply.get_str("errmsg").unwrap().contains(way_out), "{reply}");
    }
    let map_reduce = |out: Document| {
        doc! {
            "mapreduce": "items", "map": code("function() { emit(this.a, this.b); }"),
            "reduce": code("function(k, v) { return Array.sum(v); }"), "out": out, "query": {"a": 1},
        }
    };
    let change = doc! {"query": {"_id": 1}, "update": {"$inc": {"b": 1}}, "new": true};
    let find_and_modify = |more: Document| {
        let mut command = doc! {"findandmodify": "items"};
        command.extend(change.clone());
        command.extend(more);
        command
    };
    // Each means the same to both; what the old server adds to a reply is not compared.
    let table = [
        (
            doc! {"count": "items", "query": {"a": 1}, "fields": Bson::Null},
            "n",
        ),
        (doc! {"count": "items", "query": Bson::Null, "skip": 3}, "n"),
        (doc! {"distinct": "items", "key": "a", "query": {}}, "values"),
        (find_and_modify(doc! {}), "value"),
        (
            find_and_modify(doc! {"fields": {"b": 1}, "sort": {}}),
            "lastErrorObject",
        ),
        (map_reduce(doc! {"inline": 1}), "results"),
        (map_reduce(doc! {"replace": "out"}), "result"),
        (doc! {"collStats": "items", "scale": 1024}, "ns"),
        (
            doc! {"validate": "items", "full": true, "scandata": true},
            "valid",
        ),
        (doc! {"logout": 1}, "ok"),
        (doc! {"create": "made", "autoIndexId": true}, "ok"),
        (doc! {"deleteIndexes": "items", "index": "*"}, "nIndexesWas"),
    ];
    for (command, field) in table {
        let (now, then) = (
            client.command(d, command.clone()),
            old.command(d, command.clone()),
        );
        assert!(ok(&now), "{command}: {now}");
        assert_eq!(now.get(field), then.get(field), "{command}: {now} {then}");
    }
    // What 4.2 refused already, and servers before it took.
    for command in [
        find_and_modify(doc! {"writeConcern": {}, "sort": [], "fields": Bson::Null, "w": 1}),
        doc! {"create": "made_too", "w": 1},
        doc! {"mapreduce": "items", "map": "function() {}", "reduce": "function() {}", "out": {"inline": 1}, "keeptemp": true},
        doc! {"createIndexes": "items", "indexes": [{"ns": format!("{d}.items"), "key": {"q": true}, "name": "q", "w": 1}]},
        doc! {"listDatabases": 1},
        doc! {"serverStatus": 1},
    ] {
        let database = if command.contains_key("listDatabases") {
            "admin"
        } else {
            d
        };
        let reply = client.command(database, command.clone());
        assert!(ok(&reply), "{command}: {reply}");
    }
    let nonce = client.command(d, doc! {"getnonce": 1});
    assert_eq!(nonce.get_str("nonce").unwrap().len(), 16);
    for client in [&mut client, &mut old] {
        client.command(d, doc! {"dropDatabase": 1});
    }
}
