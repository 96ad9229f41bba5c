//! The Connection String specification's tests.

use tidegate::config::uri;

use super::report::run_cases;

#[test]
fn invalid_strings_are_refused() {
    run_cases("connection_string", &[], |_, case| {
        if case["valid"] == false {
            let text = case["uri"].as_str().unwrap();
            assert!(uri::parse(text).is_err(), "{text} was taken");
        }
    });
}
