//! Tests of reading read preferences; codes and texts were taken from a `mongod` 6.0.5.

use std::time::Duration;

use bson::{Bson, RawDocumentBuf, doc, oid::ObjectId, rawdoc};
use proptest::prelude::*;

use super::{super::Mode, *};

fn read(document: &bson::Document) -> Result<ReadPreference, ReadPreferenceError> {
    ReadPreference::parse(&RawDocumentBuf::try_from(document).unwrap())
}

fn tags(pairs: &[(&str, &str)]) -> TagSet {
    TagSet(
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

#[test]
fn what_a_server_takes_is_taken() {
    for (mode, expected) in [
        ("primary", Mode::Primary),
        ("primaryPreferred", Mode::PrimaryPreferred),
        ("secondary", Mode::Secondary),
        ("secondaryPreferred", Mode::SecondaryPreferred),
        ("nearest", Mode::Nearest),
    ] {
        assert_eq!(read(&doc! { "mode": mode }).unwrap().mode, expected);
        for fields in [
            doc! { "tags": [] },
            doc! { "tags": [{}] },
            doc! { "maxStalenessSeconds": 0 },
            doc! { "maxStalenessSeconds": 0.0 },
            doc! { "hedge": { "enabled": false } },
            doc! { "bogus": 1 },
        ] {
            let mut document = doc! { "mode": mode };
            document.extend(fields);
            let preference = read(&document).unwrap();
            assert_eq!(
                (preference.mode, preference.max_staleness),
                (expected, None),
                "{document}"
            );
        }
    }
    for seconds in [
        Bson::Int32(90),
        Bson::Int64(90),
        Bson::Double(90.0),
        Bson::Decimal128("90".parse().unwrap()),
    ] {
        let preference = read(&doc! { "mode": "nearest", "maxStalenessSeconds": seconds }).unwrap();
        assert_eq!(preference.max_staleness, Some(Duration::from_secs(90)));
    }
    assert!(read(&doc! { "mode": "nearest", "maxStalenessSeconds": i64::MAX - 1 }).is_ok());
    let preference = read(&doc! { "mode": "secondary", "tags": [{ "a": "b", "c": "d" }, {}] }).unwrap();
    assert_eq!(preference.tag_sets, [tags(&[("a", "b"), ("c", "d")]), tags(&[])]);
    assert_eq!(
        read(&doc! { "mode": "primary", "tags": [{}] }).unwrap(),
        ReadPreference::default()
    );
}

#[test]
fn what_a_server_refuses_is_refused_with_its_code_and_text() {
    let not_whole = "Expected field \"maxStalenessSeconds\" to have a value exactly representable as a 64-bit integer, but found maxStalenessSeconds: ";
    for (document, code, message) in [
        (doc! {}, 4, "Missing expected field \"mode\""),
        (
            doc! { "mode": 1 },
            14,
            "\"mode\" had the wrong type. Expected string, found int",
        ),
        (
            doc! { "mode": ObjectId::new() },
            14,
            "\"mode\" had the wrong type. Expected string, found objectId",
        ),
        (
            doc! { "mode": "foo", "tags": 5 },
            2,
            "Could not parse $readPreference mode 'foo'. Only the modes 'primary', 'primaryPreferred', 'secondary', 'secondaryPreferred', and 'nearest' are supported. :: caused by :: Enumeration value 'foo' for field 'mode' is not a valid value.",
        ),
        (
            doc! { "mode": "primary", "tags": Bson::Null },
            14,
            "\"tags\" had the wrong type. Expected array, found null",
        ),
        (
            doc! { "mode": "primary", "tags": [{ "a": "b" }] },
            2,
            "Only empty tags are allowed with primary read preference",
        ),
        (
            doc! { "mode": "primary", "tags": [{}, {}] },
            2,
            "Only empty tags are allowed with primary read preference",
        ),
        (
            doc! { "mode": "primary", "tags": [1] },
            2,
            "Only empty tags are allowed with primary read preference",
        ),
        (
            doc! { "mode": "primary", "tags": [{ "a": "b" }], "maxStalenessSeconds": 1 },
            2,
            "Only empty tags are allowed with primary read preference",
        ),
        (
            doc! { "mode": "primary", "tags": [{ "a": "b" }], "maxStalenessSeconds": "x" },
            2,
            "Only empty tags are allowed with primary read preference",
        ),
        (
            doc! { "mode": "primary", "maxStalenessSeconds": 89 },
            160,
            "maxStalenessSeconds value can not be less than 90",
        ),
        (
            doc! { "mode": "primary", "maxStalenessSeconds": 90 },
            2,
            "maxStalenessSeconds can not be set for the primary mode",
        ),
        (
            doc! { "mode": "nearest", "maxStalenessSeconds": 89 },
            160,
            "maxStalenessSeconds value can not be less than 90",
        ),
        (
            doc! { "mode": "nearest", "maxStalenessSeconds": -1 },
            2,
            "maxStalenessSeconds must be a non-negative integer",
        ),
        (
            doc! { "mode": "nearest", "maxStalenessSeconds": i64::MIN },
            2,
            "maxStalenessSeconds must be a non-negative integer",
        ),
        (
            doc! { "mode": "nearest", "maxStalenessSeconds": i64::MAX },
            2,
            "maxStalenessSeconds value can not exceed 9223372036854775807",
        ),
        (
            doc! { "mode": "nearest", "maxStalenessSeconds": "90" },
            14,
            "Expected field \"maxStalenessSeconds\" to have numeric type, but found string",
        ),
        (
            doc! { "mode": "nearest", "maxStalenessSeconds": 90.5 },
            2,
            &format!("{not_whole}90.5"),
        ),
        (
            doc! { "mode": "primary", "hedge": {} },
            72,
            "cannot enable hedging for $readPreference mode \"primaryOnly\"",
        ),
        (
            doc! { "mode": "nearest", "hedge": 1 },
            14,
            "hedge field must be of type object if provided; found hedge: 1",
        ),
        (
            doc! { "mode": "nearest", "hedge": { "enabled": 1 } },
            14,
            "BSON field 'hedge.enabled' is the wrong type 'int', expected type 'bool'",
        ),
        (
            doc! { "mode": "nearest", "hedge": { "x": 1 } },
            40415,
            "BSON field 'hedge.x' is an unknown field.",
        ),
        (
            doc! { "tags": 5, "maxStalenessSeconds": "x", "hedge": Bson::Null, "mode": "nearest" },
            14,
            "hedge field must be of type object if provided; found hedge: null",
        ),
    ] {
        let error = read(&document).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (code, message),
            "{document}"
        );
    }
    for seconds in [f64::NAN, f64::INFINITY, 1e300, -1e300] {
        assert_eq!(
            read(&doc! { "mode": "nearest", "maxStalenessSeconds": seconds })
                .unwrap_err()
                .code,
            2
        );
    }
    let value = rawdoc! { "$readPreference": "primary" };
    let error = ReadPreferenceError::not_a_document(value.get("$readPreference").unwrap().unwrap());
    assert_eq!(
        error.message,
        "$readPreference has incorrect type: expected object but got string"
    );
}

#[test]
fn tags_that_can_match_no_member_are_refused() {
    for set in [
        Bson::Int32(1),
        Bson::Document(doc! { "a": 1 }),
        Bson::Array(vec![]),
    ] {
        assert_eq!(
            read(&doc! { "mode": "nearest", "tags": [set] }).unwrap_err().code,
            2
        );
    }
}

#[test]
fn a_connection_string_sets_no_bound_by_minus_one() {
    let staleness = |seconds| ReadPreference::from_parts(Mode::Nearest, vec![], seconds);
    assert_eq!(staleness(None).unwrap().max_staleness, None);
    assert_eq!(staleness(Some(-1)).unwrap().max_staleness, None);
    assert_eq!(
        staleness(Some(90)).unwrap().max_staleness,
        Some(Duration::from_secs(90))
    );
    assert_eq!(staleness(Some(0)).unwrap_err().code, 160);
    assert_eq!(staleness(Some(89)).unwrap_err().code, 160);
    assert_eq!(staleness(Some(-2)).unwrap_err().code, 2);
    assert_eq!(
        ReadPreference::from_parts(Mode::Primary, vec![], Some(90))
            .unwrap_err()
            .code,
        2
    );
    assert_eq!(
        ReadPreference::from_parts(Mode::Primary, vec![tags(&[("a", "b")])], None)
            .unwrap_err()
            .code,
        2
    );
    assert!("Nearest".parse::<Mode>().is_err());
}

#[test]
fn a_connection_string_names_tags_by_colons_and_commas() {
    assert_eq!("dc:ny,rack:1".parse(), Ok(tags(&[("dc", "ny"), ("rack", "1")])));
    assert_eq!("".parse(), Ok(tags(&[])));
    assert_eq!("dc:".parse(), Ok(tags(&[("dc", "")])));
    for text in ["dc", "dc:ny,", ":x", ",", "a\0:b"] {
        assert!(text.parse::<TagSet>().is_err(), "{text:?}");
    }
    let preference = ReadPreference {
        mode: Mode::Secondary,
        tag_sets: vec![tags(&[("dc", "ny"), ("rack", "1")]), tags(&[])],
        max_staleness: Some(Duration::from_secs(120)),
    };
    assert_eq!(
        preference.to_string(),
        "readPreference=secondary&readPreferenceTags=dc:ny,rack:1&readPreferenceTags=&maxStalenessSeconds=120"
    );
}

proptest! {
    #[test]
    fn a_preference_survives_its_document(
        mode in prop::sample::select(vec![Mode::PrimaryPreferred, Mode::Secondary, Mode::SecondaryPreferred, Mode::Nearest]),
        sets in prop::collection::vec(prop::collection::vec(("[^\\x00]{0,4}", ".{0,4}"), 0..3), 0..3),
        seconds in prop_oneof![Just(None), (90..i64::MAX - 1).prop_map(Some), (90_i64..1000).prop_map(Some)],
    ) {
        let preference = ReadPreference::from_parts(mode, sets.into_iter().map(TagSet).collect(), seconds).unwrap();
        prop_assert_eq!(ReadPreference::parse(&preference.to_document()).unwrap(), preference);
    }

    #[test]
    fn damaged_preferences_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), at in any::<prop::sample::Index>(), byte: u8) {
        if let Ok(document) = RawDocument::from_bytes(&bytes) {
            let _ = ReadPreference::parse(document);
        }
        let whole = rawdoc! { "mode": "nearest", "tags": [{ "a": "b" }], "maxStalenessSeconds": 90, "hedge": {} };
        let mut bytes = whole.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(document) = RawDocument::from_bytes(&bytes) {
            let _ = ReadPreference::parse(document);
        }
    }
}
