//! Where outcomes through the proxy rightly differ from those on MongoDB 4.2, each with its reason and what it is instead.
//!
//! Most are steps that 4.2 refuses, and an older server did not.

/// One step of some drivers.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The beginnings of the drivers' names.
    drivers: &'static [&'static str],
    step: &'static str,
    pub(crate) reason: &'static str,
    /// The outcome through the proxy, as JSON.
    pub(crate) proxied: &'static str,
}

const NO_GROUP: &str = "4.2 has no `group` any more";
const NO_CURSOR: &str = "4.2 refuses `aggregate` without `cursor`";
const SYSTEM_INDEXES: &str = "4.2 refuses inserts into `system.indexes`";
const NO_INDEX: &str = "needs the index that 4.2 refused to make";
const SYSTEM_NAMESPACES: &str = "4.2 has nothing in `system.namespaces`";
const INDEX_W: &str = "4.2 refuses `w` in the specification of an index";

const EMPTY_CONCERN: &str = "4.2 refuses the empty write concern that this driver sends with `findAndModify`";
const NO_MODIFY: &str = "has what 4.2 refused to modify";

const AGGREGATED: &str = r#"[{"_id":"circle","count":100},{"_id":"line","count":1},{"_id":"square","count":99},{"_id":"star","count":100}]"#;
const GROUPED: &str = r#"[["circle",4],["line",1],["square",2],["star",3]]"#;
const NODE_INDEXES: &str = r#"[["shape_1_n_-1","codes"],[["_id_",{"_id":1},false],["codes",{"code":1},true],["shape_1_n_-1",{"shape":1,"n":-1},false]]]"#;

const DIFFERENCES: &[Difference] = &[
    of(&["pymongo", "Node"], "group", NO_GROUP, GROUPED),
    of(&["pymongo 2.", "Node 1."], "aggregate", NO_CURSOR, AGGREGATED),
    of(
        &["pymongo 2.4"],
        "index",
        SYSTEM_INDEXES,
        r#"[["shape_1_n_-1","codes"],[["_id_",[["_id",1]],false],["codes",[["code",1]],true],["shape_1_n_-1",[["n",-1],["shape",1]],false]]]"#,
    ),
    of(
        &["pymongo 2.4"],
        "duplicate key",
        NO_INDEX,
        r#"["DuplicateKeyError","DuplicateKeyError","DuplicateKeyError","DuplicateKeyError"]"#,
    ),
    of(
        &["pymongo 2.4"],
        "hint and explain",
        NO_INDEX,
        r#"[[{"_id":7,"n":7},{"_id":4,"n":4}],true]"#,
    ),
    of(
        &["pymongo 2.4"],
        "listCollections",
        SYSTEM_NAMESPACES,
        r#"["things","unacknowledged"]"#,
    ),
    of(
        &["pymongo 2.4"],
        "capped collection and tailable cursor",
        SYSTEM_NAMESPACES,
        "[[0,1,2,3],true]",
    ),
    of(
        &["pymongo 2.4"],
        "GridFS",
        SYSTEM_INDEXES,
        r#"[400000,"41da5e0dea85484145b774a779984913",400000,["tide.txt"],false]"#,
    ),
    of(&["Node 1.2"], "index", SYSTEM_INDEXES, NODE_INDEXES),
    of(&["Node 1.4"], "index", INDEX_W, NODE_INDEXES),
    of(
        &["Node 1."],
        "duplicate key",
        NO_INDEX,
        "[11000,11000,11000,11000]",
    ),
    of(
        &["Node 1."],
        "GridFS",
        NO_INDEX,
        r#"[400000,"4004d1359ca96b36907660b1ddcfcfa4"]"#,
    ),
    of(
        &["Node 1.2"],
        "listCollections",
        SYSTEM_NAMESPACES,
        r#"["things","unacknowledged"]"#,
    ),
    of(
        &["libmongoclient"],
        "findAndModify",
        EMPTY_CONCERN,
        r#"[{"_id":3,"n":3,"shape":"circle"},{"_id":3,"n":-4,"shape":"circle"},{"_id":800,"n":8},{"_id":800,"n":8}]"#,
    ),
    of(
        &["libmongoclient"],
        "cursor with getMore",
        NO_MODIFY,
        "[300,0,149,299,144843]",
    ),
    of(&["libmongoclient"], "group", NO_GROUP, "[4]"),
    of(&["libmongo-client"], "index", SYSTEM_INDEXES, "[1,1]"),
    of(
        &["libmongo-client"],
        "duplicate key",
        NO_INDEX,
        "[0,[11000,0,-1],0,0,[11000,0,-1],0,[11000,0,-1]]",
    ),
    of(&["libmongo-client"], "aggregate", NO_CURSOR, "[1,1]"),
    of(
        &["libmongo-client"],
        "listCollections",
        SYSTEM_NAMESPACES,
        "[1,0,1]",
    ),
    of(&["Poco"], "index", SYSTEM_INDEXES, "[[-1,0,-1]]"),
    of(&["Poco"], "aggregate", NO_CURSOR, "[1,3]"),
    of(
        &["Java"],
        "group",
        NO_GROUP,
        r#"["circle 4","line 1","square 2","star 3"]"#,
    ),
];

const fn of(
    drivers: &'static [&'static str],
    step: &'static str,
    reason: &'static str,
    proxied: &'static str,
) -> Difference {
    Difference {
        drivers,
        step,
        reason,
        proxied,
    }
}

/// The difference listed for this step of this driver.
pub(super) fn listed(driver: &str, step: &str) -> Option<&'static Difference> {
    DIFFERENCES
        .iter()
        .find(|one| one.step == step && one.drivers.iter().any(|start| driver.starts_with(start)))
}
