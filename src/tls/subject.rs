//! A certificate's subject as MongoDB writes it: the user name of MONGODB-X509.
//!
//! RFC 2253 from the last name to the first, with OpenSSL's short names of attributes. What a `mongod` was seen to do where
//! the RFC leaves a choice stands beside the rule; `docs/tls.md` tells operators.

use x509_cert::{der::asn1::ObjectIdentifier, name::Name};

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

/// The subject of a certificate in DER. `None` if that is no certificate, or if nobody can log in by its subject: it is empty, or
/// has values that are not UTF-8 or hold a NUL, as those of old string types (BMPString, TeletexString with accents). A `mongod`
/// closes such connections.
pub(super) fn of(certificate: &[u8]) -> Option<String> {
    let parsed = super::identity::parse(certificate).ok()?;
    let subject = parsed.tbs_certificate().subject();
    let is_text = |value: &[u8]| std::str::from_utf8(value).is_ok_and(|text| !text.contains('\0'));
    if !subject.iter().all(|attribute| is_text(attribute.value.value())) {
        return None;
    }
    Some(text(subject)).filter(|text| !text.is_empty())
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
            escape(attribute.value.value(), &mut out);
        }
    }
    out
}

fn short_name(oid: &ObjectIdentifier) -> String {
    let dotted = oid.to_string();
    let known = SHORT_NAMES.iter().find(|(known, _)| *known == dotted);
    known.map_or(dotted, |(_, name)| (*name).to_owned())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{DistinguishedName, DnType, DnValue};

    use super::{
        super::{
            pem,
            testing::{Authority, Time, subject},
        },
        *,
    };

    fn subject_of(name: DistinguishedName) -> Option<String> {
        let authority = Authority::new();
        let path = authority.issue("x.pem", &[], name, Time::Now);
        of(&pem::certificates(&path).unwrap()[0])
    }

    /// As a mongod 6.0.5 was seen to write them; `tests/integration/tls.rs` asks one again.
    #[test]
    fn subjects_are_written_from_the_last_name_to_the_first() {
        let oid = DnType::from_oid;
        let cases: [(&[(DnType, &str)], &str); 4] = [
            (
                &[
                    (DnType::CountryName, "DE"),
                    (DnType::OrganizationName, "Tide, Inc."),
                    (DnType::CommonName, "app"),
                ],
                "CN=app,O=Tide\\, Inc.,C=DE",
            ),
            (
                &[
                    (oid(&[1, 2, 840, 113_549, 1, 9, 1]), "a@b.c"),
                    (oid(&[1, 2, 3, 4, 5]), "x"),
                ],
                "1.2.3.4.5=x,emailAddress=a@b.c",
            ),
            (
                &[(oid(&[2, 5, 4, 9]), "Road"), (oid(&[2, 5, 4, 4]), "Doe")],
                "SN=Doe,street=Road",
            ),
            (
                &[(DnType::CommonName, "\u{fc}ml \u{20ac}")],
                "CN=\\C3\\BCml \\E2\\82\\AC",
            ),
        ];
        for (names, expected) in cases {
            assert_eq!(subject_of(subject(names)).as_deref(), Some(expected));
        }
        assert_eq!(subject_of(DistinguishedName::new()), None);
        let mut old = DistinguishedName::new();
        old.push(DnType::CommonName, DnValue::BmpString("old".try_into().unwrap()));
        assert_eq!(subject_of(old), None, "nobody can log in by it");
    }

    #[test]
    fn what_is_special_is_escaped_where_it_is() {
        for (value, expected) in [
            (" both ", "\\ both\\ "),
            (" ", "\\ "),
            ("#hash#", "\\#hash#"),
            ("a+b;c<d>e\"f\\g,h=i", "a\\+b\\;c\\<d\\>e\\\"f\\\\g\\,h=i"),
            ("in#ner mid  dle", "in#ner mid  dle"),
            ("", ""),
        ] {
            let mut out = String::new();
            escape(value.as_bytes(), &mut out);
            assert_eq!(out, expected);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            prop_assert_eq!(of(&bytes), None);
        }
    }
}
