//! One row per command: what it does, and what its reply may carry.
//!
//! Commands that are not here (newer servers, fail points, diagnostics) are forwarded too: to the node that an explicit
//! `$readPreference` asks for, else to the primary.

use super::old::{Old, Removed};

/// Where a command may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Reads data: follows the client's read preference, else the listener's.
    Read,
    /// Follows an explicit read preference only, else goes to the primary.
    Explicit,
    /// Changes data or must see its own changes: the primary, whatever read preference comes along.
    Primary,
    /// Useful while there is no primary, too: an explicit read preference, else the primary, else any node that answers.
    AnyNode,
    /// Belongs to a cursor: goes to the node that holds it.
    GetMore,
    /// Names cursors that may be on several nodes: split by node.
    KillCursors,
    /// Goes to every data-bearing node.
    AllNodes,
    /// Answered here.
    Local(Local),
    /// Concerns sharding, which no member of a replica set does: answered here where a `mongos` is presented in front of one,
    /// else forwarded as [`Class::Explicit`].
    Sharding(Sharding),
    /// Of old servers: answered through what nodes have instead, or refused with the way out; forwarded as [`Class::Read`] to
    /// nodes that still have it.
    Old(Old),
    /// Not served through a proxy; the text says what to do instead.
    Refused(&'static str),
}

/// Commands that Tidegate answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// `hello` and its older names.
    Hello,
    /// `ping`: proves that the proxy lives; it asks no node.
    Ping,
    /// `whatsmyuri`: the client's address as the proxy sees it.
    WhatsMyUri,
    /// `connectionStatus`: who is logged in on this connection.
    ConnectionStatus,
    /// A step of a login, or its end; never forwarded to shared connections.
    Login(LoginCommand),
    /// What servers had until 5.1 to tell the outcome of a connection's last operation.
    LastError(LastErrorCommand),
}

/// The commands by which a client says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginCommand {
    /// `saslStart`.
    SaslStart,
    /// `saslContinue`.
    SaslContinue,
    /// `authenticate`: MONGODB-X509 and MONGODB-CR.
    Authenticate,
    /// `getnonce`: the first step of MONGODB-CR.
    GetNonce,
    /// `logout`.
    Logout,
}

/// The commands about a connection's last operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastErrorCommand {
    /// `getLastError`: how it ended; waits for a write concern, too.
    Get,
    /// `getPrevError`: the last one that failed.
    Previous,
    /// `resetError`: forgets all.
    Reset,
    /// `forceerror`: fails, for tests of drivers.
    Force,
}

/// Commands that a `mongos` has and a member of a replica set has not, or only between members of a sharded cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharding {
    /// `isdbgrid`: asked by old shells to recognise a `mongos`.
    IsDbGrid,
    /// `listShards`.
    ListShards,
    /// `getShardMap`.
    ShardMap,
    /// `balancerStatus`.
    BalancerStatus,
    /// Asks for, or about, what only a sharded cluster has: there is no honest answer but a refusal.
    Impossible,
}

/// What a command is.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The name on the wire; names are case-sensitive, so aliases have rows of their own.
    pub name: &'static str,
    /// Where it goes.
    pub class: Class,
    /// Whether a successful reply may open a cursor or go on with one.
    pub cursor: bool,
    /// Which write it is, if servers can recognise a second attempt at it.
    pub write: Option<Write>,
}

/// The writes of which a server can recognise a second attempt, unless a statement concerns many documents (Retryable Writes
/// specification, "Supported Write Operations"). They differ in where their statements stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// `insert`: a document is a statement.
    Insert,
    /// `update`.
    Update,
    /// `delete`.
    Delete,
    /// `findAndModify`: is a statement itself.
    FindAndModify,
    /// `bulkWrite`, since MongoDB 8.0.
    Bulk,
}

const fn row(name: &'static str, class: Class) -> Row {
    Row {
        name,
        class,
        cursor: false,
        write: None,
    }
}

const fn cursor(name: &'static str, class: Class) -> Row {
    Row {
        cursor: true,
        ..row(name, class)
    }
}

const fn write(name: &'static str, kind: Write) -> Row {
    Row {
        write: Some(kind),
        ..row(name, Class::Primary)
    }
}

const MEMBER_ONLY: &str = "connect to the member itself: a proxy cannot know which one is meant";

const fn removed(name: &'static str, what: &'static Removed) -> Row {
    row(name, Class::Old(Old::Removed(what)))
}

const fn login(command: LoginCommand) -> Class {
    Class::Local(Local::Login(command))
}

const fn last_error(command: LastErrorCommand) -> Class {
    Class::Local(Local::LastError(command))
}

const SHARDED_ONLY: Class = Class::Sharding(Sharding::Impossible);

use Class::{AllNodes, AnyNode, Explicit, GetMore, KillCursors, Primary, Read, Refused};

/// Sorted by name (byte order), for [`find`].
static TABLE: &[Row] = &[
    removed("$eval", &Removed::EVAL),
    row("abortMoveCollection", SHARDED_ONLY),
    row("abortReshardCollection", SHARDED_ONLY),
    row("abortTransaction", Primary),
    row("abortUnshardCollection", SHARDED_ONLY),
    row("addShard", SHARDED_ONLY),
    row("addShardToZone", SHARDED_ONLY),
    row("addshard", SHARDED_ONLY),
    cursor("aggregate", Read),
    row("applyOps", Primary),
    row("authenticate", login(LoginCommand::Authenticate)),
    row("balancerCollectionStatus", SHARDED_ONLY),
    row("balancerStart", SHARDED_ONLY),
    row("balancerStatus", Class::Sharding(Sharding::BalancerStatus)),
    row("balancerStop", SHARDED_ONLY),
    row("buildInfo", AnyNode),
    row("buildinfo", AnyNode),
    write("bulkWrite", Write::Bulk),
    row("cleanupReshardCollection", SHARDED_ONLY),
    row("clearJumboFlag", SHARDED_ONLY),
    removed("clone", &Removed::COPY),
    removed("cloneCollection", &Removed::CLONE_COLLECTION),
    row("cloneCollectionAsCapped", Primary),
    row("collMod", Primary),
    row("collStats", Read),
    row("collstats", Read),
    row("commitReshardCollection", SHARDED_ONLY),
    row("commitTransaction", Primary),
    row("configureCollectionBalancing", SHARDED_ONLY),
    row("connectionStatus", Class::Local(Local::ConnectionStatus)),
    row("convertToCapped", Primary),
    removed("copydb", &Removed::COPY),
    removed("copydbgetnonce", &Removed::COPY),
    removed("copydbsaslstart", &Removed::COPY),
    row("count", Read),
    row("create", Primary),
    row("createIndexes", Primary),
    row("createRole", Primary),
    row("createSearchIndexes", Primary),
    row("createUser", Primary),
    removed("cursorInfo", &Removed::CURSOR_INFO),
    row("dataSize", Read),
    row("datasize", Read),
    row("dbHash", Read),
    row("dbStats", Read),
    row("dbhash", Read),
    row("dbstats", Read),
    write("delete", Write::Delete),
    row("deleteIndexes", Primary),
    removed("diagLogging", &Removed::DIAG_LOGGING),
    row("distinct", Read),
    row("drop", Primary),
    row("dropAllRolesFromDatabase", Primary),
    row("dropAllUsersFromDatabase", Primary),
    row("dropConnections", Explicit),
    row("dropDatabase", Primary),
    row("dropIndexes", Primary),
    row("dropRole", Primary),
    row("dropSearchIndex", Primary),
    row("dropUser", Primary),
    row("enableSharding", SHARDED_ONLY),
    row("enablesharding", SHARDED_ONLY),
    row("endSessions", AnyNode),
    removed("eval", &Removed::EVAL),
    row("explain", Explicit),
    row("features", AnyNode),
    cursor("find", Read),
    write("findAndModify", Write::FindAndModify),
    write("findandmodify", Write::FindAndModify),
    row("flushRouterConfig", SHARDED_ONLY),
    row("flushrouterconfig", SHARDED_ONLY),
    row("forceerror", last_error(LastErrorCommand::Force)),
    row("geoNear", Class::Old(Old::GeoNear)),
    removed("geoSearch", &Removed::GEO_SEARCH),
    row("getCmdLineOpts", AnyNode),
    row("getDefaultRWConcern", Explicit),
    row("getLastError", last_error(LastErrorCommand::Get)),
    row("getLog", AnyNode),
    cursor("getMore", GetMore),
    row("getParameter", AnyNode),
    row("getPrevError", last_error(LastErrorCommand::Previous)),
    row("getShardMap", Class::Sharding(Sharding::ShardMap)),
    row("getShardVersion", SHARDED_ONLY),
    row("getlasterror", last_error(LastErrorCommand::Get)),
    row("getnonce", login(LoginCommand::GetNonce)),
    row("getpreverror", last_error(LastErrorCommand::Previous)),
    row("grantPrivilegesToRole", Primary),
    row("grantRolesToRole", Primary),
    row("grantRolesToUser", Primary),
    row("group", Class::Old(Old::Group)),
    row("hello", Class::Local(Local::Hello)),
    row("hostInfo", AnyNode),
    removed("indexStats", &Removed::INDEX_STATS),
    write("insert", Write::Insert),
    row("invalidateUserCache", AllNodes),
    row("isMaster", Class::Local(Local::Hello)),
    row("isdbgrid", Class::Sharding(Sharding::IsDbGrid)),
    row("ismaster", Class::Local(Local::Hello)),
    row("killAllSessions", AllNodes),
    row("killAllSessionsByPattern", AllNodes),
    row("killCursors", KillCursors),
    row("killSessions", AllNodes),
    cursor("listCollections", Explicit),
    row("listCommands", AnyNode),
    row("listDatabases", Explicit),
    cursor("listIndexes", Explicit),
    row("listShards", Class::Sharding(Sharding::ListShards)),
    row("listshards", Class::Sharding(Sharding::ListShards)),
    row("logout", login(LoginCommand::Logout)),
    row("mapReduce", Read),
    row("mapreduce", Read),
    row("mergeAllChunksOnShard", SHARDED_ONLY),
    row("mergeChunks", SHARDED_ONLY),
    row("moveChunk", SHARDED_ONLY),
    row("moveCollection", SHARDED_ONLY),
    row("movePrimary", SHARDED_ONLY),
    row("moveRange", SHARDED_ONLY),
    row("movechunk", SHARDED_ONLY),
    row("moveprimary", SHARDED_ONLY),
    removed("parallelCollectionScan", &Removed::PARALLEL_SCAN),
    row("ping", Class::Local(Local::Ping)),
    row("planCacheClear", Explicit),
    removed("planCacheListPlans", &Removed::PLAN_CACHE),
    removed("planCacheListQueryShapes", &Removed::PLAN_CACHE),
    row("reIndex", Class::Old(Old::ReIndex)),
    row("refineCollectionShardKey", SHARDED_ONLY),
    row("refreshSessions", AnyNode),
    row("removeShard", SHARDED_ONLY),
    row("removeShardFromZone", SHARDED_ONLY),
    row("removeshard", SHARDED_ONLY),
    row("renameCollection", Primary),
    removed("repairDatabase", &Removed::REPAIR),
    row("replSetAbortPrimaryCatchUp", Primary),
    row("replSetGetConfig", AnyNode),
    row("replSetGetRBID", AnyNode),
    row("replSetGetStatus", AnyNode),
    row("replSetInitiate", AnyNode),
    row("replSetReconfig", AnyNode),
    row("replSetStepDown", Primary),
    row("replSetStepUp", Refused(MEMBER_ONLY)),
    row("resetError", last_error(LastErrorCommand::Reset)),
    row("reseterror", last_error(LastErrorCommand::Reset)),
    row("reshardCollection", SHARDED_ONLY),
    removed("resync", &Removed::RESYNC),
    row("revokePrivilegesFromRole", Primary),
    row("revokeRolesFromRole", Primary),
    row("revokeRolesFromUser", Primary),
    row("saslContinue", login(LoginCommand::SaslContinue)),
    row("saslStart", login(LoginCommand::SaslStart)),
    row("serverStatus", Explicit),
    row("setDefaultRWConcern", Primary),
    row("setFeatureCompatibilityVersion", Primary),
    row("setIndexCommitQuorum", Primary),
    row("shardCollection", SHARDED_ONLY),
    removed("shardConnPoolStats", &Removed::SHARD_POOL),
    row("shardcollection", SHARDED_ONLY),
    row("shutdown", Refused(MEMBER_ONLY)),
    row("split", SHARDED_ONLY),
    row("startSession", AnyNode),
    removed("text", &Removed::TEXT),
    removed("touch", &Removed::TOUCH),
    row("transitionFromDedicatedConfigServer", SHARDED_ONLY),
    row("transitionToDedicatedConfigServer", SHARDED_ONLY),
    row("unshardCollection", SHARDED_ONLY),
    write("update", Write::Update),
    row("updateRole", Primary),
    row("updateSearchIndex", Primary),
    row("updateUser", Primary),
    row("updateZoneKeyRange", SHARDED_ONLY),
    row("whatsmyuri", Class::Local(Local::WhatsMyUri)),
];

/// The row of the command called `name`.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Row> {
    // Slices of unlike length are told apart without a look at them, so that hardly more than the right one is compared.
    beginning_with(*name.first()?)
        .iter()
        .find(|row| row.name.as_bytes() == name)
}

/// The row that lies at this address, which was taken of a reference to it.
#[must_use]
pub fn row_at(address: usize) -> Option<&'static Row> {
    TABLE
        .iter()
        .find(|row| std::ptr::from_ref(*row).addr() == address)
}

/// The rows whose name begins so.
fn beginning_with(first: u8) -> &'static [Row] {
    static BEGINNINGS: [u16; 257] = {
        let mut beginnings = [TABLE.len() as u16; 257];
        let mut at = TABLE.len();
        let mut first = 256;
        while first > 0 {
            first -= 1;
            while at > 0 && TABLE[at - 1].name.as_bytes()[0] as usize >= first {
                at -= 1;
            }
            beginnings[first] = at as u16;
        }
        beginnings
    };
    let first = usize::from(first);
    &TABLE[usize::from(BEGINNINGS[first])..usize::from(BEGINNINGS[first + 1])]
}

/// The number of a row, in the order of the table: what is counted by command is kept under it. Commands without a row have the number
/// after the last.
#[inline]
#[must_use]
pub fn number_of(row: Option<&'static Row>) -> usize {
    let Some(row) = row else { return TABLE.len() };
    // Rows lie one behind the other.
    let offset = std::ptr::from_ref(row).addr().wrapping_sub(TABLE.as_ptr().addr());
    (offset / size_of::<Row>()).min(TABLE.len())
}

/// How many numbers there are.
#[must_use]
pub fn numbers() -> usize {
    TABLE.len() + 1
}

/// The name of the command with this number.
#[must_use]
pub fn name_of(number: usize) -> &'static str {
    TABLE.get(number).map_or("(other)", |row| row.name)
}

/// The names of all commands of the table.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.name)
}

/// Whether a command and its reply may be compressed: not those that carry secrets, nor the handshake (OP_COMPRESSED
/// specification, "Messages not allowed to be compressed").
#[must_use]
pub fn may_be_compressed(name: &[u8]) -> bool {
    !matches!(
        name,
        b"hello"
            | b"isMaster"
            | b"ismaster"
            | b"saslStart"
            | b"saslContinue"
            | b"getnonce"
            | b"authenticate"
            | b"createUser"
            | b"updateUser"
            | b"copydbSaslStart"
            | b"copydbsaslstart"
            | b"copydbgetnonce"
            | b"copydb"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_without_duplicates() {
        for pair in TABLE.windows(2) {
            assert!(
                pair[0].name < pair[1].name,
                "{} before {}",
                pair[0].name,
                pair[1].name
            );
        }
    }

    #[test]
    fn every_row_is_found_and_names_are_case_sensitive() {
        for row in TABLE {
            assert_eq!(find(row.name.as_bytes()), Some(row));
        }
        for name in ["Find", "FIND", "", "zzz", "a", "findX"] {
            assert_eq!(find(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn secrets_and_handshakes_are_never_compressed() {
        for name in [
            "hello",
            "isMaster",
            "ismaster",
            "saslStart",
            "createUser",
            "authenticate",
        ] {
            assert!(!may_be_compressed(name.as_bytes()), "{name}");
        }
        for name in ["find", "insert", "ping", "", "helloX", "getMore"] {
            assert!(may_be_compressed(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn commands_that_write_never_leave_the_primary() {
        for name in [
            "insert",
            "update",
            "delete",
            "findAndModify",
            "findandmodify",
            "bulkWrite",
            "create",
            "drop",
            "dropDatabase",
            "createIndexes",
            "commitTransaction",
            "abortTransaction",
            "renameCollection",
        ] {
            assert_eq!(find(name.as_bytes()).unwrap().class, Primary, "{name}");
        }
    }
}
