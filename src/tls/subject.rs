//! A certificate's subject as MongoDB writes it: the user name of MONGODB-X509.
//!
//! RFC 2253 from the last name to the first, with OpenSSL's short names of attributes. What a `mongod` was seen to do where
//! the RFC leaves a choice stands beside the rule; `docs/tls.md` tells operators.

use x509_cert::{
    attr::AttributeTypeAndValue,
    der::{Tag, Tagged, asn1::ObjectIdentifier},
    name::Name,
};

/// The short names, by OpenSSL; what is not here is written as the dotted number.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.3", "mail"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.20", "telephoneNumber"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

/// The subject of a certificate in DER; `None` if that is no certificate, or has an empty subject.
pub(super) fn of(certificate: &[u8]) -> Option<String> {
    let parsed = super::identity::parse(certificate).ok()?;
    Some(text(parsed.tbs_certificate().subject())).filter(|text| !text.is_empty())
}

/// A name in MongoDB's form.
pub(super) fn text(name: &Name) -> String {
    let mut out = String::new();
    let names: Vec<_> = name.iter_rdn().collect();
    for names in names.into_iter().rev() {
        if !out.is_empty() {
            out.push(',');
        }
        for (index, attribute) in names.iter().enumerate() {
            if index > 0 {
                out.push('+');
            }
            out.push_str(&short_name(&attribute.oid));
            out.push('=');
            escape(&value(attribute), &mut out);
        }
    }
    out
}

fn short_name(oid: &ObjectIdentifier) -> String {
    let dotted = oid.to_string();
    let known = SHORT_NAMES.iter().find(|(known, _)| *known == dotted);
    known.map_or(dotted, |(_, name)| (*name).to_owned())
}

/// The value's text in UTF-8. Of a type that is no text its bytes are taken as they are.
fn value(attribute: &AttributeTypeAndValue) -> Vec<u8> {
    let bytes = attribute.value.value();
    match attribute.value.tag() {
        Tag::BmpString => {
            let units = bytes
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units)
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect::<String>()
                .into_bytes()
        }
        // OpenSSL reads it as Latin-1.
        Tag::TeletexString => bytes
            .iter()
            .map(|byte| char::from(*byte))
            .collect::<String>()
            .into_bytes(),
        _ => bytes.to_vec(),
    }
}

/// Escapes as RFC 2253 demands; bytes beyond ASCII as two hexadecimal digits each.
fn escape(value: &[u8], out: &mut String) {
    for (index, byte) in value.iter().copied().enumerate() {
        let is_first = index == 0;
        let is_last = index + 1 == value.len();
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b'#' if is_first => out.push_str("\\#"),
            b' ' if is_first || is_last => out.push_str("\\ "),
            0x80.. => out.push_str(&format!("\\{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
}
