//! Who may ask and who may act: bearer tokens (RFC 6750), clients' certificates, and what browsers are kept from.
//!
//! Reading and acting are separate rights. Who has the token, or a certificate of the authority that is named, may do both; the token
//! for reading serves dashboards and scrapers. Where neither is configured, which is only possible on loopback, everybody on this host
//! has both rights, but no page that a browser shows does: pages of other sites may not act, and a request must be for an
//! address or `localhost`, not for a name that was made to lead here (DNS rebinding). Whether the process lives and is ready is told
//! to everybody: orchestrators ask for that without secrets, and the answers hold none.

use std::{fmt, net::IpAddr};

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::audit::AdminRefusal;

/// By which browsers tell where a request comes from (Fetch Metadata Request Headers).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Fewer characters could be found by trying.
pub const SHORTEST_TOKEN: usize = 16;

/// A secret by which somebody is recognised. `Debug` shows nothing of it, and it is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

/// Why a text is no token. It never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It could be found by trying.
    #[error("a token has at least {SHORTEST_TOKEN} characters; make one with `openssl rand -base64 32`")]
    Short,
    /// It cannot stand in a header.
    #[error("a token consists of letters, digits and -._~+/= alone; make one with `openssl rand -base64 32`")]
    Characters,
}

impl Token {
    /// Takes a token, as RFC 6750 allows one (`b64token`).
    ///
    /// # Errors
    /// When it is too short, or has other characters.
    pub fn new(text: impl Into<Zeroizing<String>>) -> Result<Self, TokenError> {
        let text = text.into();
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !text.bytes().all(is_fine) {
            Err(TokenError::Characters)
        } else if text.len() < SHORTEST_TOKEN {
            Err(TokenError::Short)
        } else {
            Ok(Self(text))
        }
    }

    /// Whether `other` is this token. The time tells nothing of how much of it is right, nor of its length.
    fn is(&self, other: &[u8]) -> bool {
        let digest = |bytes: &[u8]| Sha256::digest(bytes);
        digest(self.0.as_bytes()).ct_eq(&digest(other)).into()
    }

    /// The header by which it is shown.
    pub(super) fn header(&self) -> HeaderValue {
        let text = Zeroizing::new(format!("Bearer {}", *self.0));
        // A token has no character that a header cannot have.
        let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Who has which right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Gives the right to read and to act.
    pub token: Option<Token>,
    /// Gives the right to read.
    pub read_token: Option<Token>,
    /// A client's certificate, which was verified when it connected, gives both rights.
    pub by_certificate: bool,
}

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: it tells whether the process lives and is ready.
    Nothing,
    /// The right to read.
    Read,
    /// The right to act.
    Act,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    /// The headers of the request.
    pub(super) headers: &'a HeaderMap,
    /// The connection has shown a valid certificate.
    pub(super) has_certificate: bool,
}

impl Asker<'_> {
    /// Whether a token came along, right or wrong.
    pub(super) fn shows_token(&self) -> bool {
        self.headers.contains_key(AUTHORIZATION)
    }

    fn token(&self) -> Option<&[u8]> {
        let value = self.headers.get(AUTHORIZATION)?.as_bytes();
        let (scheme, token) = value.split_at_checked(7)?;
        scheme
            .eq_ignore_ascii_case(b"Bearer ")
            .then(|| token.trim_ascii())
    }

    /// Whether a browser sent it on behalf of a page. None has any business here; a browser says so itself in one of the two.
    fn is_page(&self) -> bool {
        let site = self.headers.get(FETCH_SITE);
        self.headers.contains_key(ORIGIN) || site.is_some_and(|site| site != "none")
    }

    /// Whether it is for an address, or for the name that every host has for itself; clients that are no browsers may leave it out.
    fn names_this_host(&self) -> bool {
        let mut hosts = self.headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return !self.headers.contains_key(HOST);
        };
        let Ok(host) = host.to_str() else { return false };
        let (name, rest) = match host.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some(parts) => parts,
            None => host.split_at(host.find(':').unwrap_or(host.len())),
        };
        let is_port = rest
            .strip_prefix(':')
            .is_none_or(|port| port.parse::<u16>().is_ok());
        let is_rest = rest.is_empty() || rest.starts_with(':');
        is_port && is_rest && (name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost"))
    }
}

impl Access {
    /// Whether nothing is demanded of anybody.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.token.is_none() && self.read_token.is_none() && !self.by_certificate
    }

    /// Whether who asks has the right that is needed.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn judge(&self, need: Need, asker: &Asker<'_>) -> Result<(), AdminRefusal> {
        if need == Need::Nothing {
            return Ok(());
        }
        if need == Need::Act && asker.is_page() {
            return Err(AdminRefusal::CrossSite);
        }
        if self.is_open() {
            let is_for_us = asker.names_this_host();
            return if is_for_us {
                Ok(())
            } else {
                Err(AdminRefusal::UnknownHost)
            };
        }
        if self.by_certificate && asker.has_certificate {
            return Ok(());
        }
        let Some(shown) = asker.token() else {
            let wrong = asker.shows_token();
            return Err(if wrong {
                AdminRefusal::WrongToken
            } else {
                AdminRefusal::NoToken
            });
        };
        let fits = |token: &Option<Token>| token.as_ref().is_some_and(|token| token.is(shown));
        // Both are compared whatever the first comes to.
        let (may_act, may_read) = (fits(&self.token), fits(&self.read_token));
        match need {
            _ if may_act => Ok(()),
            Need::Act if may_read => Err(AdminRefusal::MayOnlyRead),
            _ if may_read => Ok(()),
            _ => Err(AdminRefusal::WrongToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: &str = "the-token-for-everything";
    const READING: &str = "the-token-for-reading";

    fn token(text: &str) -> Option<Token> {
        Some(Token::new(text.to_owned()).unwrap())
    }

    fn judge(
        access: &Access,
        need: Need,
        headers: &[(&'static str, &str)],
        has_certificate: bool,
    ) -> Result<(), AdminRefusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        access.judge(
            need,
            &Asker {
                headers: &map,
                has_certificate,
            },
        )
    }

    #[test]
    fn each_credential_gives_its_own_rights() {
        use AdminRefusal::{MayOnlyRead, NoToken, WrongToken};
        let both = Access {
            token: token(FULL),
            read_token: token(READING),
            by_certificate: true,
        };
        let reading = Access {
            read_token: token(READING),
            ..Access::default()
        };
        let bearer = |text: &str| format!("Bearer {text}");
        for (access, shown, certificate, read, act) in [
            (&both, None, false, Err(NoToken), Err(NoToken)),
            (&both, Some(bearer(FULL)), false, Ok(()), Ok(())),
            (&both, Some(format!("bearer   {FULL} ")), false, Ok(()), Ok(())),
            (&both, Some(bearer(READING)), false, Ok(()), Err(MayOnlyRead)),
            (
                &both,
                Some(bearer("the-token-for-everythinG")),
                false,
                Err(WrongToken),
                Err(WrongToken),
            ),
            (&both, Some(bearer("")), false, Err(WrongToken), Err(WrongToken)),
            (
                &both,
                Some(format!("Basic {FULL}")),
                false,
                Err(WrongToken),
                Err(WrongToken),
            ),
            (
                &both,
                Some(FULL.to_owned()),
                false,
                Err(WrongToken),
                Err(WrongToken),
            ),
            (&both, None, true, Ok(()), Ok(())),
            (&reading, None, true, Err(NoToken), Err(NoToken)),
            (&reading, Some(bearer(READING)), false, Ok(()), Err(MayOnlyRead)),
            (
                &reading,
                Some(bearer(FULL)),
                false,
                Err(WrongToken),
                Err(WrongToken),
            ),
        ] {
            let headers: Vec<_> = shown
                .iter()
                .map(|shown| ("authorization", shown.as_str()))
                .collect();
            let found =
                [Need::Nothing, Need::Read, Need::Act].map(|need| judge(access, need, &headers, certificate));
            assert_eq!(
                found,
                [Ok(()), read, act],
                "{shown:?}, certificate: {certificate}"
            );
        }
    }

    #[test]
    fn where_nothing_is_demanded_names_that_lead_here_are_refused_and_pages_may_not_act() {
        let open = Access::default();
        for (host, is_fine) in [
            (None, true),
            (Some("127.0.0.1:9218"), true),
            (Some("127.0.0.1"), true),
            (Some("[::1]:9218"), true),
            (Some("[::1]"), true),
            (Some("localhost:9218"), true),
            (Some("LocalHost"), true),
            (Some("evil.example"), false),
            (Some("evil.example:9218"), false),
            (Some("127.0.0.1.evil.example"), false),
            (Some("localhost.evil.example"), false),
            (Some("[::1].evil.example"), false),
            (Some("127.0.0.1:x"), false),
            (Some(""), false),
        ] {
            let headers: Vec<_> = host.iter().map(|host| ("host", *host)).collect();
            let expected = if is_fine {
                Ok(())
            } else {
                Err(AdminRefusal::UnknownHost)
            };
            for need in [Need::Read, Need::Act] {
                assert_eq!(judge(&open, need, &headers, false), expected, "{host:?}");
            }
            assert_eq!(judge(&open, Need::Nothing, &headers, false), Ok(()));
        }
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(
            judge(&open, Need::Read, &two, false),
            Err(AdminRefusal::UnknownHost)
        );
        let locked = Access {
            token: token(FULL),
            ..Access::default()
        };
        let authorization = format!("Bearer {FULL}");
        for from in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "same-origin"),
        ] {
            let headers = [("host", "localhost"), ("authorization", &*authorization), from];
            for access in [&open, &locked] {
                assert_eq!(
                    judge(access, Need::Act, &headers, true),
                    Err(AdminRefusal::CrossSite),
                    "{from:?}"
                );
                assert_eq!(judge(access, Need::Read, &headers, true), Ok(()), "{from:?}");
            }
        }
        assert_eq!(
            judge(&open, Need::Act, &[("sec-fetch-site", "none")], false),
            Ok(())
        );
    }

    #[test]
    fn tokens_that_are_no_secrets_are_refused_and_none_is_shown() {
        for (text, error) in [
            ("", TokenError::Short),
            ("fifteen-letters", TokenError::Short),
            ("sixteen letters and more", TokenError::Characters),
            ("sixteen-letters\u{e4}and-more", TokenError::Characters),
            ("sixteen-letters\nand-more", TokenError::Characters),
        ] {
            assert_eq!(Token::new(text.to_owned()).unwrap_err(), error, "{text}");
            assert!(text.len() < 10 || !error.to_string().contains(text));
        }
        let access = Access {
            token: token(FULL),
            ..Access::default()
        };
        assert!(!format!("{access:?}").contains(FULL));
    }

    proptest! {
        #[test]
        fn no_other_text_is_taken_for_the_token(shown in "[a-zA-Z0-9._~+/=-]{0,40}") {
            let access = Access { token: token(FULL), ..Access::default() };
            let header = format!("Bearer {shown}");
            let expected = if shown == FULL { Ok(()) } else { Err(AdminRefusal::WrongToken) };
            prop_assert_eq!(judge(&access, Need::Read, &[("authorization", &header)], false), expected);
        }
    }
}
