//! The connection strings of the Authentication specification.

use serde_json::Value as Json;
use tidegate::config::uri::{self, Credential, Secret, UriError};

use super::report::run_cases;

/// What Tidegate does not speak with nodes: such a string is refused, and says so, whatever the specification says of it.
const UNSUPPORTED: &[&str] = &["GSSAPI", "MONGODB-AWS", "MONGODB-OIDC"];

#[test]
fn auth_connection_string() {
    run_cases("auth/legacy", &[], |_, case| judge(case));
}

fn judge(case: &Json) {
    let text = case["uri"].as_str().unwrap();
    let read = uri::parse(text).and_then(|parsed| parsed.credential());
    if UNSUPPORTED.iter().any(|name| text.contains(name)) {
        let errors = read.unwrap_err();
        let is_told = |error: &UriError| {
            matches!(
                error,
                UriError::Unsupported {
                    option: "authMechanism",
                    ..
                }
            )
        };
        assert!(errors.iter().any(is_told), "{text}: {errors:?}");
        return;
    }
    if case["valid"] == false {
        assert!(read.is_err(), "{text} was taken");
        return;
    }
    let found = read.unwrap_or_else(|errors| panic!("{text} was refused: {errors:?}"));
    let expected = &case["credential"];
    assert_eq!(found.is_some(), !expected.is_null(), "{text}");
    let Some(Credential {
        user,
        mechanism,
        password,
    }) = found
    else {
        return;
    };
    // A certificate's user may be named nowhere.
    assert_eq!(expected["username"].as_str().unwrap_or(""), &*user.name, "{text}");
    assert_eq!(expected["source"].as_str(), Some(&*user.db), "{text}");
    let name = mechanism.map(|mechanism| mechanism.name());
    assert_eq!(expected["mechanism"].as_str(), name, "{text}");
    let password = password.as_ref().map(Secret::expose);
    assert_eq!(expected["password"].as_str(), password, "{text}");
    assert!(expected["mechanism_properties"].is_null(), "{text}");
}
