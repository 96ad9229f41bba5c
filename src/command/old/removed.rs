//! Commands that are gone without a successor that a proxy could call in their place, and what to do instead.

/// A command that newer nodes do not have.
#[derive(Debug, PartialEq, Eq)]
pub struct Removed {
    /// The wire version of the last release that had it.
    pub until: i32,
    /// What to do instead, for people.
    pub way_out: &'static str,
}

impl Removed {
    const fn until(until: i32, way_out: &'static str) -> Self {
        Self { until, way_out }
    }

    /// `eval`, `$eval`: removed in 4.2.
    pub const EVAL: Self = Self::until(
        7,
        "servers since MongoDB 4.2 do not run scripts: do the work in the application, or use $function, $where or mapReduce",
    );
    /// `copydb` and what logs it in, `clone`: removed in 4.2.
    pub const COPY: Self = Self::until(
        7,
        "it was removed in MongoDB 4.2: copy with mongodump and mongorestore (--nsFrom and --nsTo rename), or with $out and $merge",
    );
    /// `cloneCollection`: removed in 4.4.
    pub const CLONE_COLLECTION: Self = Self::until(
        8,
        "it was removed in MongoDB 4.4: copy with mongoexport and mongoimport, or with mongodump and mongorestore",
    );
    /// `repairDatabase`: removed in 4.2.
    pub const REPAIR: Self = Self::until(
        7,
        "it was removed in MongoDB 4.2: run compact to give disk space back, or mongod --repair on a member that is taken \
         out of the set",
    );
    /// `parallelCollectionScan`: removed in 4.2.
    pub const PARALLEL_SCAN: Self = Self::until(
        7,
        "it was removed in MongoDB 4.2: run several finds over ranges of _id",
    );
    /// `geoSearch`: removed in 5.0 with the haystack indexes.
    pub const GEO_SEARCH: Self = Self::until(
        9,
        "it was removed in MongoDB 5.0 with geoHaystack indexes: use a 2d or 2dsphere index with $geoNear or $geoWithin",
    );
    /// `text`: removed in 3.0.
    pub const TEXT: Self = Self::until(
        2,
        "it was removed in MongoDB 3.0: run a find with the operator $text",
    );
    /// `planCacheListPlans`, `planCacheListQueryShapes`: removed in 4.4.
    pub const PLAN_CACHE: Self = Self::until(
        8,
        "it was removed in MongoDB 4.4: run an aggregate with the stage $planCacheStats",
    );
    /// `touch`: removed in 4.4.
    pub const TOUCH: Self = Self::until(
        8,
        "it was removed in MongoDB 4.4 with the storage engine that it was for: run a query that reads the data",
    );
    /// `cursorInfo`: removed in 3.2.
    pub const CURSOR_INFO: Self = Self::until(
        3,
        "it was removed in MongoDB 3.2: read metrics.cursor in the reply of serverStatus",
    );
    /// `indexStats`: removed in 3.0.
    pub const INDEX_STATS: Self = Self::until(
        2,
        "it was removed in MongoDB 3.0: run an aggregate with the stage $indexStats",
    );
    /// `resync`: removed in 4.2.
    pub const RESYNC: Self = Self::until(
        7,
        "it was removed in MongoDB 4.2: empty the member's data folder and start it again, and it copies all data anew",
    );
    /// `diagLogging`: removed in 3.6.
    pub const DIAG_LOGGING: Self = Self::until(
        5,
        "it was removed in MongoDB 3.6: use the profiler, or record the traffic outside the server",
    );
    /// `shardConnPoolStats`: removed in 5.0.
    pub const SHARD_POOL: Self = Self::until(9, "it was removed in MongoDB 5.0: run connPoolStats");
}
