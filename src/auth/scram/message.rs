//! The text of SCRAM messages: attributes, escaped names, base64 (RFC 5802, sections 5.1 and 7).

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::ScramError;

/// The longest message that is looked at. Names and nonces are far shorter; a stranger shall not make the proxy keep more.
pub const MOST_BYTES: usize = 16 * 1024;

/// The nonce that these random bytes make: printable and without a comma. A conversation's side must never use one twice.
#[must_use]
pub fn nonce(random: [u8; 24]) -> String {
    encode(&random)
}

/// Names the message in errors, and takes it apart.
#[derive(Clone, Copy)]
pub(super) struct Reading(pub(super) &'static str);

impl Reading {
    /// The error that `what` is wrong with the message.
    pub(super) fn malformed(self, what: &'static str) -> ScramError {
        let Self(message) = self;
        ScramError::Malformed { message, what }
    }

    /// The message as text.
    pub(super) fn text(self, payload: &[u8]) -> Result<&str, ScramError> {
        if payload.len() > MOST_BYTES {
            return Err(self.malformed("it is too long"));
        }
        std::str::from_utf8(payload).map_err(|_| self.malformed("it is not UTF-8"))
    }

    /// The value of `part`, which must be the attribute of this name, such as `r=`, and not be empty.
    pub(super) fn attribute<'a>(
        self,
        part: Option<&'a str>,
        name: &str,
        missing: &'static str,
    ) -> Result<&'a str, ScramError> {
        part.and_then(|part| part.strip_prefix(name))
            .filter(|value| !value.is_empty())
            .ok_or_else(|| self.malformed(missing))
    }

    /// The bytes of a value in base64, which must be padded and canonical.
    pub(super) fn bytes(self, value: &str, what: &'static str) -> Result<Vec<u8>, ScramError> {
        BASE64_STANDARD.decode(value).map_err(|_| self.malformed(what))
    }

    /// Undoes [`escape`].
    pub(super) fn unescape(self, value: &str) -> Result<Box<str>, ScramError> {
        let mut parts = value.split('=');
        let mut name = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (sign, rest) = match part.as_bytes() {
                [b'2', b'C', ..] => (',', &part[2..]),
                [b'3', b'D', ..] => ('=', &part[2..]),
                _ => return Err(self.malformed("the user name holds an = that is not escaped")),
            };
            name.push(sign);
            name.push_str(rest);
        }
        if name.contains('\0') {
            return Err(self.malformed("the user name holds a null character"));
        }
        Ok(name.into())
    }
}

/// A user name as a value: `,` and `=` would end it.
pub(super) fn escape(name: &str) -> Cow<'_, str> {
    if name.contains([',', '=']) {
        Cow::Owned(name.replace('=', "=3D").replace(',', "=2C"))
    } else {
        Cow::Borrowed(name)
    }
}

/// Bytes in base64.
pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const READING: Reading = Reading("message");

    #[test]
    fn names_with_signs_of_the_grammar_are_escaped() {
        assert_eq!(escape("a=b,c"), "a=3Db=2Cc");
        assert_eq!(escape("=2C"), "=3D2C");
        assert_eq!(&*READING.unescape("=3D2C").unwrap(), "=2C");
    }

    #[test]
    fn a_name_with_a_stray_sign_is_refused() {
        for name in ["a=b", "a=", "a=2c", "a=3d", "a==2C", "a=2", "=é", "a\0b"] {
            assert!(READING.unescape(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_nonce_is_printable_and_has_no_comma() {
        let nonce = nonce([0xFF; 24]);
        assert!(nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','));
        assert_eq!(nonce.len(), 32);
    }

    proptest! {
        #[test]
        fn every_name_survives_its_escaping(name in "[^\0]*") {
            let escaped = escape(&name);
            prop_assert!(!escaped.contains(','));
            prop_assert_eq!(&*READING.unescape(&escaped).unwrap(), name);
        }
    }
}
