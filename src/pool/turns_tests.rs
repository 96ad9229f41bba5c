//! Several identities in one pool: whose turn it is, and what each keeps.

use super::*;

fn wait_as(state: &mut TestState, identity: &Identity, waiter: u32, since: Instant) -> u64 {
    state.enqueue(identity, Ordinary, waiter, times(since))
}

/// Makes one for the identity that has a waiter of this number, who takes it.
fn make(state: &mut TestState, connection: u32, waiter: u32, now: Instant) -> Pooled<u32> {
    let (making, _) = state.begin_connect(false).unwrap();
    match state.connected(pooled(connection, 0, making), now) {
        Placed::Waiter(served, pooled) if served == waiter => pooled,
        other => panic!("{other:?}"),
    }
}

/// Makes one for each, numbered from 1, and lets it lie idle.
fn idle_for_each(state: &mut TestState, identities: [&Identity; 2], now: Instant) {
    for (connection, identity) in (1..).zip(identities) {
        wait_as(state, identity, connection, now);
        let lent = make(state, connection, connection, now);
        assert!(matches!(state.place(lent, now), Placed::Idle));
    }
}

#[test]
fn an_idle_connection_of_another_user_gives_its_place_up_and_the_least_used_one_first() {
    let (a, b, c) = (Identity::testing(1), Identity::testing(2), Identity::testing(3));
    let none = Options {
        max_awaiting: 0,
        min_per_user: 0,
        ..options(2, 0)
    };
    let (mut state, now) = (ready(none), Instant::now());
    for (connection, identity) in [(1, &a), (2, &b)] {
        wait_as(&mut state, identity, connection, now);
        let lent = make(&mut state, connection, connection, now);
        assert!(matches!(
            state.place(lent, now + Duration::from_millis(connection.into())),
            Placed::Idle
        ));
    }
    assert!(state.check_out(&c, 0, Ordinary).is_none(), "others' are no use");
    wait_as(&mut state, &c, 3, now);
    let (making, given_up) = state.begin_connect(false).unwrap();
    assert_eq!((&making.identity, given_up.unwrap().connection), (&c, 1));
    assert_eq!(state.counts().identities, 2, "the first has nothing left");
}

#[test]
fn what_a_user_is_guaranteed_goes_only_to_one_who_has_less() {
    let (a, b) = (Identity::testing(1), Identity::testing(2));
    let none = Options {
        max_awaiting: 0,
        min_per_user: 1,
        ..options(2, 0)
    };
    let (mut state, now) = (ready(none), Instant::now());
    idle_for_each(&mut state, [&a, &b], now);
    let _lent = state.check_out(&a, 0, Ordinary).unwrap();
    wait_as(&mut state, &a, 7, now);
    assert!(state.begin_connect(false).is_none(), "the other keeps its one");
    let newcomer = Identity::testing(3);
    wait_as(&mut state, &newcomer, 8, now);
    let (making, given_up) = state.begin_connect(false).unwrap();
    assert_eq!(
        (making.identity, given_up.unwrap().identity.clone()),
        (newcomer, b),
        "one who has none comes first"
    );
}

#[test]
fn a_busy_user_cannot_keep_another_waiting_for_ever() {
    let (busy, other) = (Identity::testing(1), Identity::testing(2));
    let none = Options {
        max_awaiting: 0,
        ..options(1, 0)
    };
    let (mut state, mut now) = (ready(none), Instant::now());
    wait_as(&mut state, &busy, 1, now);
    let mut lent = make(&mut state, 1, 1, now);
    wait_as(&mut state, &other, 50, now);
    for waiter in 2..4 {
        wait_as(&mut state, &busy, waiter, now);
        now += Duration::from_millis(5);
        let Placed::Waiter(served, pooled) = state.place(lent, now) else {
            panic!()
        };
        assert_eq!(
            served, waiter,
            "a login costs more than a command: the busy one goes on for a moment"
        );
        lent = pooled;
    }
    wait_as(&mut state, &busy, 4, now);
    now += Duration::from_millis(20);
    assert!(
        matches!(state.place(lent, now), Placed::Idle),
        "now it is the other's turn"
    );
    let (making, given_up) = state.begin_connect(false).unwrap();
    assert_eq!((&making.identity, given_up.unwrap().connection), (&other, 1));
    assert!(matches!(
        state.connected(pooled(2, 0, making), now),
        Placed::Waiter(50, _)
    ));
}

#[test]
fn no_user_has_more_than_its_bound() {
    let user = Identity::testing(1);
    let bounded = Options {
        max_per_user: Some(1),
        ..options(5, 0)
    };
    let (mut state, now) = (ready(bounded), Instant::now());
    for waiter in 0..3 {
        wait_as(&mut state, &user, waiter, now);
    }
    let lent = make(&mut state, 1, 0, now);
    assert!(state.begin_connect(false).is_none());
    wait(&mut state, Ordinary, 9);
    assert!(
        state.begin_connect(false).unwrap().0.identity.is_service(),
        "others may"
    );
    assert!(matches!(state.place(lent, now), Placed::Waiter(1, _)));
}

#[test]
fn a_refused_login_is_told_to_all_who_wait_unless_connections_are_left_for_them() {
    let user = Identity::testing(1);
    let (mut state, now) = (ready(options(5, 0)), Instant::now());
    for waiter in 0..2 {
        wait_as(&mut state, &user, waiter, now);
    }
    let lent = make(&mut state, 1, 0, now);
    let (making, _) = state.begin_connect(false).unwrap();
    assert!(
        state.login_refused(&making.identity, making.share).is_empty(),
        "one is left that serves it"
    );
    assert!(state.begin_connect(false).is_none(), "nor is it tried again");
    let Placed::Waiter(1, lent) = state.place(lent, now) else {
        panic!()
    };
    for waiter in 2..4 {
        wait_as(&mut state, &user, waiter, now);
    }
    state.discard(&lent.identity, lent.share);
    let (making, _) = state.begin_connect(false).unwrap();
    assert_eq!(state.login_refused(&making.identity, making.share), [2, 3]);
    assert_eq!(state.counts(), Counts::default());
}

#[test]
fn connections_whose_login_a_node_has_forgotten_are_not_lent_again() {
    let user = Identity::testing(1);
    let (mut state, now) = (ready(options(5, 0)), Instant::now());
    wait_as(&mut state, &user, 1, now);
    wait_as(&mut state, &user, 2, now);
    let (first, second) = (make(&mut state, 1, 1, now), make(&mut state, 2, 2, now));
    assert!(matches!(state.place(first, now), Placed::Idle));
    user.forget_connections();
    assert!(matches!(state.place(second, now), Placed::Unwanted(_)));
    assert_eq!(state.reap(now).len(), 1, "the idle one goes, too");
}

#[test]
fn room_is_kept_only_for_whom_a_connection_can_be_made() {
    let (a, b) = (Identity::testing(1), Identity::testing(2));
    let tight = Options {
        max_awaiting: 0,
        min_per_user: 2,
        ..options(4, 0)
    };
    let (mut state, mut now) = (ready(tight), Instant::now());
    let mut lent = Vec::new();
    for (connection, identity) in [(1, &a), (2, &a), (3, &b), (4, &b)] {
        wait_as(&mut state, identity, connection, now);
        lent.push(make(&mut state, connection, connection, now));
    }
    wait_as(&mut state, &a, 70, now);
    wait_as(&mut state, &b, 80, now);
    now += Duration::from_secs(1);
    let returned = lent.pop().unwrap();
    assert!(
        matches!(state.place(returned, now), Placed::Waiter(80, _)),
        "the one who came first has as much as is guaranteed, and the other no more than that"
    );
}

#[test]
fn those_who_may_have_no_more_do_not_hide_one_who_has_nothing() {
    let (bounded, busy, newcomer) = (Identity::testing(1), Identity::testing(2), Identity::testing(3));
    let tight = Options {
        max_awaiting: 0,
        max_per_user: Some(2),
        ..options(4, 0)
    };
    let (mut state, mut now) = (ready(tight), Instant::now());
    let mut lent = Vec::new();
    for (connection, identity) in [(1, &bounded), (2, &bounded), (3, &busy), (4, &busy)] {
        wait_as(&mut state, identity, connection, now);
        lent.push(make(&mut state, connection, connection, now));
    }
    for waiter in 100..200 {
        wait_as(&mut state, &bounded, waiter, now);
    }
    wait_as(&mut state, &newcomer, 70, now);
    for waiter in 80..83 {
        wait_as(&mut state, &busy, waiter, now);
    }
    let returned = lent.pop().unwrap();
    let Placed::Waiter(80, returned) = state.place(returned, now) else {
        panic!("the busy one goes on for a moment")
    };
    now += Duration::from_secs(1);
    assert!(matches!(state.place(returned, now), Placed::Idle));
    let (making, given_up) = state.begin_connect(false).unwrap();
    assert_eq!((&making.identity, given_up.unwrap().connection), (&newcomer, 4));
    // Nothing is kept while nothing can be made.
    let returned = lent.pop().unwrap();
    assert!(matches!(state.place(returned, now), Placed::Waiter(81, _)));
}

#[test]
fn one_for_whom_nothing_gives_way_is_not_in_the_way_of_the_other_share() {
    let [a, b, wants_more, has_none] = [1, 2, 3, 4].map(Identity::testing);
    let tight = Options {
        max_awaiting: 1,
        ..options(2, 0)
    };
    let (mut state, now) = (ready(tight), Instant::now());
    idle_for_each(&mut state, [&a, &b], now);
    wait_as(&mut state, &wants_more, 3, now);
    let _lent = make(&mut state, 3, 3, now);
    wait_as(&mut state, &wants_more, 7, now);
    assert!(state.begin_connect(false).is_none(), "the others keep their one");
    state.enqueue(&has_none, Awaiting, 8, times(now));
    let (making, given_up) = state.begin_connect(false).unwrap();
    assert_eq!(
        (&making.identity, making.share, given_up.unwrap().connection),
        (&has_none, Awaiting, 1)
    );
}
