//! Whatever the text, there is an answer.

use proptest::prelude::*;

use super::{super::schema::SECTIONS, *};

/// Text that is nearly a configuration, so that more than the TOML parser is reached.
fn near_configuration() -> impl Strategy<Value = String> {
    let keys: Vec<_> = SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().copied())
        .chain(["mode", "x"])
        .collect();
    let headers = [
        "[upstream]",
        "[[listener]]",
        "[listener]",
        "[pool]",
        "[limits]",
        "[admin]",
        "[log]",
        "[x]",
        "[[",
    ];
    let values = [
        "'off'",
        "5",
        "-1",
        "'5s'",
        "'99999999999999y'",
        "'64MiB'",
        "'127.0.0.1:1'",
        "'mongodb://a'",
        "true",
        "1.5",
        "[]",
        "{ mode = 'nearest', tags = [{ a = 'b' }, 1], max_staleness = '1s' }",
        "[[{}]]",
        "'",
        "",
        "''",
    ];
    let line = prop_oneof![
        prop::sample::select(headers.to_vec()).prop_map(str::to_owned),
        (prop::sample::select(keys), prop::sample::select(values.to_vec()))
            .prop_map(|(key, value)| format!("{key} = {value}")),
        "[\\PC\n]{0,20}",
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

fn near_variables() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = "TIDEGATE_(UPSTREAM|LISTENER|POOL|\\PC{0,5})__([0-9]{1,20}__)?(URI|MAX_SIZE|ADDRESS|READ_PREFERENCE(__(MODE|TAGS))?|\\PC{0,5})";
    prop::collection::vec((name, "\\PC{0,10}|[\\[{][a-z={}\\[\\]]{0,8}"), 0..4)
}

proptest! {
    #[test]
    fn any_text_gives_a_configuration_or_mistakes(text in "(?s).{0,200}") {
        let _ = load(&text, &[]);
    }

    #[test]
    fn near_configurations_are_valid_or_have_mistakes_with_a_place(text in near_configuration(), variables in near_variables()) {
        let borrowed: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match load(&text, &borrowed) {
            Ok(config) => prop_assert!(!config.upstream.seeds.is_empty() && !config.listeners.is_empty()),
            Err(mistakes) => {
                prop_assert!(mistakes.count() > 0);
                let lines = text.split('\n').count();
                for mistake in mistakes.iter() {
                    if let Place::File { line, .. } = mistake.place {
                        prop_assert!((1..=lines).contains(&line), "{mistake}");
                    }
                }
            }
        }
    }
}
