//! What a `hello` asks for, judged as a `mongod` judges it.
//!
//! The codes are those of a `mongod` 6.0.5; the rules of `topologyVersion` and `maxAwaitTimeMS` are of the Server Discovery and
//! Monitoring specification ("Streaming protocol"), those of `client` of the MongoDB Handshake specification.

use std::time::Duration;

use bson::oid::ObjectId;

use crate::{
    client::compression::{Compressors, OfferError},
    command::ErrorReply,
    topology::TopologyVersion,
    wire::{Element, RawDoc},
};

/// The longest wait that is granted at once; a client that wants more asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The BSON type of a null.
const NULL: u8 = 0x0a;

/// What a `hello` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Fields {
    /// It asked by the name `hello`, not by one of the older ones.
    pub(super) is_hello: bool,
    /// It understands `hello`, should it ask by an older name.
    pub(super) hello_ok: bool,
    /// The client takes the proxy for a load balancer.
    pub(super) load_balanced: bool,
    /// Wait for a change from this, and for how long.
    pub(super) wait: Option<(TopologyVersion, Duration)>,
    /// Whether it describes itself.
    pub(super) has_client: bool,
    /// The compressors that it offers; `None` if it only asks what was agreed on before.
    pub(super) compressors: Option<Compressors>,
}

impl Fields {
    /// Reads the command `name` with this body. `exhausts`: many replies are allowed.
    ///
    /// # Errors
    /// With the code that a `mongod` answers.
    pub(super) fn read(name: &[u8], body: RawDoc<'_>, exhausts: bool) -> Result<Self, ErrorReply> {
        let mut fields = Self {
            is_hello: name == b"hello",
            ..Self::default()
        };
        let (mut version, mut max_await) = (None, None);
        for element in body.iter() {
            let element = element.map_err(|error| ErrorReply::invalid_message(&error))?;
            match element.key {
                // A field that is null counts as left out, but for the description.
                name if element.kind == NULL && name != b"client" => {}
                b"helloOk" => fields.hello_ok = flag(&element)?,
                b"loadBalanced" => fields.load_balanced = flag(&element)?,
                b"client" => fields.has_client = true,
                b"topologyVersion" => version = Some(topology_version(&element)?),
                b"maxAwaitTimeMS" => max_await = Some(max_await_time(&element)?),
                b"compression" => fields.compressors = Some(compression(&element)?),
                b"saslSupportedMechs" => check_user_name(&element)?,
                _ => {}
            }
        }
        fields.wait = match (version, max_await) {
            (Some(version), Some(max_await)) => Some((version, max_await)),
            (None, None) if exhausts => {
                let message = "an isMaster or hello request with exhaust must specify 'maxAwaitTimeMS'";
                return Err(ErrorReply::invalid_hello(51756, "Location51756", message));
            }
            (None, None) => None,
            (Some(_), None) => {
                let message = "a request with a 'topologyVersion' must include 'maxAwaitTimeMS'";
                return Err(ErrorReply::invalid_hello(31368, "Location31368", message));
            }
            (None, Some(_)) => {
                let message = "a request with 'maxAwaitTimeMS' must include a 'topologyVersion'";
                return Err(ErrorReply::invalid_hello(31368, "Location31368", message));
            }
        };
        Ok(fields)
    }
}

fn mismatch(field: &str, expected: &str) -> ErrorReply {
    let message = format!("field 'hello.{field}' is of the wrong type, expected {expected}");
    ErrorReply::invalid_hello(14, "TypeMismatch", message)
}

fn flag(element: &Element<'_>) -> Result<bool, ErrorReply> {
    let name = String::from_utf8_lossy(element.key);
    element
        .as_bool()
        .ok_or_else(|| mismatch(&name, "a boolean or a number"))
}

fn topology_version(element: &Element<'_>) -> Result<TopologyVersion, ErrorReply> {
    let missing = |name| {
        let message = format!("field 'hello.topologyVersion.{name}' is missing but required");
        ErrorReply::invalid_hello(40414, "Location40414", message)
    };
    let document = element
        .as_doc()
        .ok_or_else(|| mismatch("topologyVersion", "an object"))?;
    let (mut process_id, mut counter) = (None, None);
    for field in document.iter() {
        let field = field.map_err(|error| ErrorReply::invalid_message(&error))?;
        match (field.key, field.kind) {
            (b"processId", 0x07) => {
                process_id = <[u8; 12]>::try_from(field.value).ok().map(ObjectId::from_bytes)
            }
            (b"processId", _) => return Err(mismatch("topologyVersion.processId", "an ObjectId")),
            (b"counter", 0x12) => counter = field.as_i64(),
            (b"counter", _) => return Err(mismatch("topologyVersion.counter", "a long")),
            (other, _) => {
                let other = String::from_utf8_lossy(other);
                let message = format!("field 'hello.topologyVersion.{other}' is unknown");
                return Err(ErrorReply::invalid_hello(40415, "Location40415", message));
            }
        }
    }
    let process_id = process_id.ok_or_else(|| missing("processId"))?;
    let counter = counter.ok_or_else(|| missing("counter"))?;
    if counter < 0 {
        let message = "topologyVersion must have a counter that is not negative";
        return Err(ErrorReply::invalid_hello(31372, "Location31372", message));
    }
    Ok(TopologyVersion { process_id, counter })
}

fn max_await_time(element: &Element<'_>) -> Result<Duration, ErrorReply> {
    let millis = element
        .as_i64()
        .ok_or_else(|| mismatch("maxAwaitTimeMS", "a number"))?;
    let millis = u64::try_from(millis).map_err(|_| {
        let message = format!("'maxAwaitTimeMS' must be at least 0, and is {millis}");
        ErrorReply::invalid_hello(51024, "Location51024", message)
    })?;
    Ok(Duration::from_millis(millis).min(LONGEST_WAIT))
}

fn compression(element: &Element<'_>) -> Result<Compressors, ErrorReply> {
    let names = element
        .as_array()
        .ok_or_else(|| mismatch("compression", "an array"))?;
    Compressors::read(names).map_err(|error| match error {
        OfferError::NoName => mismatch("compression", "an array of strings"),
        OfferError::Wire(error) => ErrorReply::invalid_message(&error),
    })
}

/// No user is known here, so none has mechanisms to tell of, and the field of the reply is left out; a malformed name is an error
/// all the same.
fn check_user_name(element: &Element<'_>) -> Result<(), ErrorReply> {
    match (element.as_str_bytes(), element.as_doc()) {
        (Some(name), _) if name.contains(&b'.') => Ok(()),
        (Some(_), _) => {
            let message = "a user name must have the form database.user";
            Err(ErrorReply::invalid_hello(2, "BadValue", message))
        }
        (None, Some(_)) => Ok(()),
        (None, None) => Err(mismatch("saslSupportedMechs", "a string or an object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Compressor;
    use bson::{Bson, Document, doc};

    const PROCESS: ObjectId = ObjectId::from_bytes([7; 12]);

    fn read(body: &Document, exhausts: bool) -> Result<Fields, i32> {
        let name = body.keys().next().unwrap().clone();
        let bytes = body.to_vec().unwrap();
        Fields::read(name.as_bytes(), RawDoc::prefix(&bytes).unwrap(), exhausts).map_err(|error| error.code())
    }

    fn version() -> Document {
        doc! { "processId": PROCESS, "counter": 6_i64 }
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let hello = doc! {
            "hello": 1, "helloOk": true, "loadBalanced": 1, "client": {}, "topologyVersion": version(),
            "maxAwaitTimeMS": 10_000, "saslSupportedMechs": "admin.ann", "unknown": 1,
            "compression": ["zstd", "lzma", "noop", "snappy", "zstd"],
        };
        let version = TopologyVersion {
            process_id: PROCESS,
            counter: 6,
        };
        let expected = Fields {
            is_hello: true,
            hello_ok: true,
            load_balanced: true,
            wait: Some((version, Duration::from_secs(10))),
            has_client: true,
            compressors: Some([Compressor::Zstd, Compressor::Snappy].into_iter().collect()),
        };
        assert_eq!(read(&hello, true), Ok(expected));
        assert_eq!(read(&doc! { "isMaster": 1 }, false), Ok(Fields::default()));
        let nulls = doc! {
            "hello": 1, "helloOk": Bson::Null, "loadBalanced": Bson::Null, "topologyVersion": Bson::Null,
            "maxAwaitTimeMS": Bson::Null, "compression": Bson::Null, "saslSupportedMechs": Bson::Null,
        };
        assert_eq!(read(&nulls, false), read(&doc! { "hello": 1 }, false));
        let for_ever = doc! { "hello": 1, "topologyVersion": self::version(), "maxAwaitTimeMS": i64::MAX };
        assert_eq!(read(&for_ever, false).unwrap().wait.unwrap().1, LONGEST_WAIT);
    }

    #[test]
    fn mistakes_have_the_codes_of_a_mongod() {
        let with = |field: &str, value: Bson| {
            let mut hello = doc! { "hello": 1, "topologyVersion": version(), "maxAwaitTimeMS": 100 };
            hello.insert(field, value);
            hello
        };
        let inner = |field: &str, value: Bson| {
            let mut changed = version();
            changed.insert(field, value);
            with("topologyVersion", changed.into())
        };
        let only = |document: Document| with("topologyVersion", document.into());
        for (hello, exhausts, code) in [
            (doc! { "hello": 1, "topologyVersion": version() }, false, 31368),
            (doc! { "hello": 1, "maxAwaitTimeMS": 100 }, false, 31368),
            (doc! { "hello": 1 }, true, 51756),
            (with("maxAwaitTimeMS", (-1).into()), false, 51024),
            (with("maxAwaitTimeMS", "x".into()), false, 14),
            (with("topologyVersion", 1.into()), false, 14),
            (inner("counter", 6.into()), false, 14),
            (inner("processId", "x".into()), false, 14),
            (inner("counter", (-1_i64).into()), false, 31372),
            (inner("extra", 1.into()), false, 40415),
            (only(doc! { "processId": PROCESS }), false, 40414),
            (only(doc! { "counter": 1_i64 }), false, 40414),
            (doc! { "hello": 1, "helloOk": "x" }, false, 14),
            (doc! { "hello": 1, "compression": "zstd" }, false, 14),
            (doc! { "hello": 1, "compression": ["zstd", 1] }, false, 14),
            (doc! { "hello": 1, "saslSupportedMechs": "nobody" }, false, 2),
            (doc! { "hello": 1, "saslSupportedMechs": 1 }, false, 14),
        ] {
            assert_eq!(read(&hello, exhausts), Err(code), "{hello}");
        }
    }
}
