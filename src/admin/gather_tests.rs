//! What is told of what is there, and of what is not known.

use super::*;
use crate::admin::capacity::NodeConnections;

#[test]
fn dates_that_cannot_be_written_are_left_out() {
    assert_eq!(date(1_700_000_000_123).unwrap(), "2023-11-14T22:13:20.123Z");
    assert_eq!(date(LAST_DATE).unwrap(), "9999-12-31T23:59:59.999Z");
    for millis in [-1, LAST_DATE + 1, i64::MIN, i64::MAX] {
        assert_eq!(date(millis), None, "{millis}");
    }
}

#[test]
fn every_kind_has_a_word_of_its_own() {
    let words: std::collections::BTreeSet<_> = STATES.iter().map(|(kind, _)| state(*kind)).collect();
    assert_eq!(words.len(), STATES.len());
}

#[test]
fn counts_are_unknown_with_a_reason_until_the_node_told() {
    let mut server = ServerDescription::unknown("a".parse().unwrap(), None);
    let pool = Pool {
        in_use: 7,
        max_size: 90,
        awaits: Awaits {
            in_use: 0,
            waiting: 0,
            max: 8,
        },
        ..crate::admin::testing::pool()
    };
    let answer = Answer {
        asked: Instant::now(),
        outcome: Ok(NodeConnections {
            current: 20,
            available: 190,
        }),
    };
    let down = connections(&server, &pool, Some(answer.clone()));
    assert_eq!(down.unknown_because.unwrap(), "the node does not answer");
    assert_eq!(
        (down.current, down.proxies_that_fit, down.age_seconds),
        (None, None, None)
    );
    server.kind = ServerKind::RsPrimary;
    assert_eq!(
        connections(&server, &pool, None).unknown_because.unwrap(),
        "the node has not told yet"
    );
    let known = connections(&server, &pool, Some(answer));
    assert_eq!(
        (known.available, known.per_proxy, known.proxies_that_fit),
        (Some(190), 100, Some(2))
    );
    assert_eq!(known.unknown_because, None);
}
