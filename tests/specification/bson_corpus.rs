//! The BSON Corpus: what a forwarder does with documents.
//!
//! Valid documents are walked to the bottom and carried in a message, and come out as they went in. Of documents with a fault it is
//! checked that nothing panics: a forwarder leaves to the server what it does not step over (UTF-8, booleans, the insides of values).

use bytes::BytesMut;
use serde_json::Value;
use tidegate::wire::{RawDoc, WireError, op_msg};

use super::report::{Case, run_split};

/// Files that hold nothing but texts that no reader of Extended JSON may take.
const ONLY_TEXTS: &str = "it holds Extended JSON alone, and a forwarder reads no text";

/// The fields of cases that hold BSON; `bson` is that of a faulty document.
const FORMS: [&str; 4] = ["canonical_bson", "degenerate_bson", "converted_bson", "bson"];

#[test]
fn documents_are_forwarded_as_they_are() {
    let exemptions = [
        ("decimal128-6.json", ONLY_TEXTS),
        ("decimal128-7.json", ONLY_TEXTS),
    ];
    let (mut refused, mut texts) = (0, 0);
    let split = |_: &str, content| split(content, &mut texts);
    run_split("bson_corpus", &exemptions, split, |_, case| {
        let bytes = unhex(case["bson"].as_str().unwrap());
        if case["valid"] == true {
            assert_forwarded(&bytes);
        } else {
            refused += usize::from(walk(&bytes, 0).is_err());
        }
    });
    println!(
        "bson_corpus: {refused} of the faulty documents are refused here, the others left to the server"
    );
    println!(
        "bson_corpus: not applicable: {texts} parseErrors, and the *_extjson of each case (a forwarder reads no text)"
    );
    assert!(refused > 0, "a walk that takes everything checks no length");
}

/// A case for each form of each valid document and for each faulty one.
fn split(content: Value, texts: &mut usize) -> Vec<Case> {
    for (field, value) in content.as_object().unwrap() {
        match field.as_str() {
            "description" | "bson_type" | "test_key" | "deprecated" | "valid" | "decodeErrors" => {}
            "parseErrors" => *texts += value.as_array().unwrap().len(),
            other => panic!("{other:?} is not understood here"),
        }
    }
    let mut cases = Vec::new();
    let mut add = |case: &Value, form: &str, valid: bool| {
        // Of what a case says only the texts are left out.
        for field in case.as_object().unwrap().keys() {
            let is_known = matches!(field.as_str(), "description" | "lossy") || field.ends_with("_extjson");
            assert!(
                is_known || FORMS.contains(&field.as_str()),
                "{field:?} is not understood here"
            );
        }
        if let Some(bson) = case[form].as_str() {
            let name = format!("{} ({form})", case["description"].as_str().unwrap());
            cases.push((name, serde_json::json!({ "bson": bson, "valid": valid })));
        }
    };
    for case in content["valid"].as_array().into_iter().flatten() {
        for form in FORMS.iter().filter(|form| **form != "bson") {
            add(case, form, true);
        }
    }
    for case in content["decodeErrors"].as_array().into_iter().flatten() {
        add(case, "bson", false);
    }
    cases
}

fn assert_forwarded(bytes: &[u8]) {
    let rebuilt = walk(bytes, 0).unwrap();
    assert_eq!(rebuilt, bytes, "what was walked over is not the document");
    let mut message = BytesMut::new();
    op_msg::encode(RawDoc::prefix(bytes).unwrap(), 7, 0, 0, &mut message);
    let layout = op_msg::Layout::parse(&message).unwrap();
    assert_eq!(layout.body(&message).unwrap().bytes(), bytes);
}

/// Walks a document and all that it nests, and puts it together again from what the walk gave.
fn walk(bytes: &[u8], depth: usize) -> Result<Vec<u8>, WireError> {
    let document = RawDoc::prefix(bytes)?;
    let mut rebuilt = bytes[..4].to_vec();
    for element in document {
        let element = element?;
        rebuilt.push(element.kind);
        rebuilt.extend_from_slice(element.key);
        rebuilt.push(0);
        match element.kind {
            0x03 | 0x04 if depth < 200 => rebuilt.extend(walk(element.value, depth + 1)?),
            _ => rebuilt.extend_from_slice(element.value),
        }
        // Whatever is asked of a value, it is answered without a panic.
        let _ = (
            element.as_i64(),
            element.as_bool(),
            element.as_str(),
            element.as_doc(),
            element.as_array(),
        );
    }
    rebuilt.push(0);
    Ok(rebuilt)
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
