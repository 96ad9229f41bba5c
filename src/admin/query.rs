//! The query string of a request.

use percent_encoding::percent_decode_str;

/// Names and values, each name once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string of which `known` names are understood.
    ///
    /// # Errors
    /// A sentence about what is wrong: an unknown name, one that comes twice, text that is no UTF-8.
    pub(super) fn parse(text: &str, known: &[&str]) -> Result<Self, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&&*name) {
                return Err(match known {
                    [] => format!("there is no parameter {name:?} here, nor any other"),
                    _ => format!(
                        "there is no parameter {name:?} here; there are: {}",
                        known.join(", ")
                    ),
                });
            }
            if pairs.iter().any(|(there, _)| *there == name) {
                return Err(format!("the parameter {name:?} comes twice"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// A parameter's value; empty where it stands without one.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(there, _)| there == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Query {
    /// Whether a parameter stands there that is one by itself.
    ///
    /// # Errors
    /// A sentence about a value that it has: who writes `off=false` means something else.
    pub(super) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            None => Ok(false),
            Some("" | "true") => Ok(true),
            Some(value) => Err(format!("{name} takes no value such as {value:?}")),
        }
    }
}

/// Undoes what forms do to text.
fn decode(text: &str) -> Result<String, String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(|text| text.into_owned())
        .map_err(|_| format!("the query string has text that is no UTF-8: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_mistakes_are_named() {
        let query = Query::parse("user=a%40b+c&off&&limit=3", &["user", "off", "limit", "x"]).unwrap();
        assert_eq!(query.get("user"), Some("a@b c"));
        assert_eq!(
            (query.get("off"), query.get("limit"), query.get("x")),
            (Some(""), Some("3"), None)
        );
        assert_eq!(Query::parse("", &[]).unwrap(), Query::default());
        assert_eq!((query.flag("off"), query.flag("x")), (Ok(true), Ok(false)));
        assert!(
            query
                .flag("limit")
                .unwrap_err()
                .contains("no value such as \"3\"")
        );
        for (text, known, problem) in [
            ("usr=a", &["user", "limit"][..], "there are: user, limit"),
            ("a", &[], "nor any other"),
            ("user=a&user=b", &["user"], "comes twice"),
            ("user=%FF", &["user"], "no UTF-8"),
        ] {
            let error = Query::parse(text, known).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
