//! The pool's state machine by table.

use super::{Share::*, *};
use crate::pool::pooled::About;

type TestState = State<u32, u32>;

fn options(max_size: usize, min_size: usize) -> Options {
    Options {
        max_size,
        min_size,
        max_awaiting: 2,
        max_connecting: 2,
        ..Options::default()
    }
}

fn ready(options: Options) -> TestState {
    let mut state = TestState::new(options);
    state.ready();
    state
}

fn pooled(connection: u32, core: usize, making: Making) -> Pooled<u32> {
    let about = About {
        epoch: making.identity.epoch(),
        identity: making.identity,
        core,
        generation: making.generation,
        expires: None,
    };
    Pooled::new(connection, making.share, about)
}

fn check_out(state: &mut TestState, share: Share) -> Option<Pooled<u32>> {
    state.check_out(&Identity::SERVICE, 0, share)
}

/// A wait that begins now.
fn times(now: Instant) -> (Instant, Instant) {
    (now, now + Duration::from_secs(9))
}

fn wait(state: &mut TestState, share: Share, waiter: u32) -> u64 {
    state.enqueue(&Identity::SERVICE, share, waiter, times(Instant::now()))
}

/// Makes a connection as the shell does.
fn open(state: &mut TestState, connection: u32, core: usize, now: Instant) {
    wait(state, Ordinary, 999);
    let (making, _) = state.begin_connect(true).unwrap();
    let Placed::Waiter(999, pooled) = state.connected(pooled(connection, core, making), now) else {
        panic!("the waiter should get it")
    };
    assert!(matches!(state.place(pooled, now), Placed::Idle));
}

#[test]
fn other_bounds_close_what_is_idle_beyond_them_and_what_comes_back() {
    let (mut state, now) = (ready(options(6, 0)), Instant::now());
    (1..=6).for_each(|connection| open(&mut state, connection, 0, now));
    let mut lent: Vec<_> = (0..5).map(|_| check_out(&mut state, Ordinary).unwrap()).collect();
    let bounds = |max_size| Options {
        max_awaiting: 0,
        ..options(max_size, 0)
    };
    let given_up = state.set_options(bounds(3));
    assert_eq!(given_up.len(), 1, "the idle one");
    assert!(check_out(&mut state, Ordinary).is_none());
    for unwanted in [true, true, false] {
        let placed = state.place(lent.pop().unwrap(), now);
        assert_eq!(matches!(placed, Placed::Unwanted(_)), unwanted);
    }
    assert_eq!((state.counts().in_use, state.counts().idle), (2, 1));
    // Up again: who waits finds room at once.
    lent.push(check_out(&mut state, Ordinary).unwrap());
    wait(&mut state, Ordinary, 7);
    assert!(state.begin_connect(false).is_none());
    assert!(state.set_options(bounds(4)).is_empty());
    assert!(state.begin_connect(false).is_some());
    assert_eq!(state.counts().generation, 0);
}

#[test]
fn who_waits_on_a_share_that_is_given_up_is_served_in_turn_on_the_other() {
    let (mut state, now) = (ready(options(1, 0)), Instant::now());
    open(&mut state, 1, 0, now);
    let lent = check_out(&mut state, Ordinary).unwrap();
    wait(&mut state, Awaiting, 7);
    let leaves = wait(&mut state, Awaiting, 8);
    wait(&mut state, Ordinary, 9);
    let bounds = Options {
        max_awaiting: 0,
        ..options(1, 0)
    };
    assert!(state.set_options(bounds).is_empty());
    state.leave(leaves);
    let Placed::Waiter(7, lent) = state.place(lent, now) else {
        panic!("it waits for what never comes")
    };
    let Placed::Waiter(9, lent) = state.place(lent, now) else {
        panic!()
    };
    assert!(matches!(state.place(lent, now), Placed::Idle));
}

#[test]
fn the_most_recently_used_of_the_own_core_comes_first_then_another_cores() {
    let (mut state, now) = (ready(options(10, 0)), Instant::now());
    for (connection, core) in [(1, 0), (2, 1), (3, 1)] {
        open(&mut state, connection, core, now);
    }
    let mut next = |core| {
        state
            .check_out(&Identity::SERVICE, core, Ordinary)
            .map(|pooled| pooled.connection)
    };
    assert_eq!(
        [next(1), next(1), next(1), next(1)],
        [Some(3), Some(2), Some(1), None]
    );
}

#[test]
fn waiters_are_served_in_order_and_those_who_left_are_passed_over() {
    let (mut state, now) = (ready(options(1, 0)), Instant::now());
    open(&mut state, 1, 0, now);
    let lent = check_out(&mut state, Ordinary).unwrap();
    let tickets: Vec<u64> = (10..14)
        .map(|waiter| wait(&mut state, Ordinary, waiter))
        .collect();
    state.leave(tickets[1]);
    state.leave(tickets[1]);
    assert!(state.begin_connect(true).is_none(), "the pool is full");
    let Placed::Waiter(first, lent) = state.place(lent, now) else {
        panic!()
    };
    let Placed::Waiter(second, lent) = state.place(lent, now) else {
        panic!()
    };
    let Placed::Waiter(third, lent) = state.place(lent, now) else {
        panic!()
    };
    assert_eq!((first, second, third), (10, 12, 13));
    assert!(matches!(state.place(lent, now), Placed::Idle));
}

#[test]
fn connecting_is_bounded_and_follows_demand() {
    let mut state = ready(options(3, 1));
    assert!(state.begin_connect(false).is_none(), "nobody asked for warm ones");
    assert!(state.begin_connect(true).is_some(), "one is kept warm");
    assert!(state.begin_connect(true).is_none(), "nobody waits");
    for waiter in 0..5 {
        wait(&mut state, Ordinary, waiter);
    }
    assert!(state.begin_connect(true).is_some());
    assert!(state.begin_connect(true).is_none(), "two at once");
    assert_eq!(state.connect_failed(&Identity::SERVICE, Ordinary), Some(0));
    assert!(state.begin_connect(true).is_some());
    assert_eq!(state.counts().connecting, 2);
}

#[test]
fn a_cleared_pool_takes_nothing_of_the_old_generation_back() {
    let (mut state, now) = (ready(options(4, 0)), Instant::now());
    open(&mut state, 1, 0, now);
    open(&mut state, 2, 0, now);
    let lent = check_out(&mut state, Ordinary).unwrap();
    wait(&mut state, Ordinary, 7);
    let (idle, told) = state.clear();
    assert_eq!((idle.len(), told), (1, vec![7]));
    assert!(matches!(state.place(lent, now), Placed::Unwanted(_)));
    assert_eq!(
        state.counts(),
        Counts {
            generation: 1,
            ..Counts::default()
        }
    );
}

#[test]
fn a_paused_pool_makes_no_connections_until_its_node_is_seen() {
    let mut state = TestState::new(options(4, 1));
    assert!(state.is_paused() && state.begin_connect(true).is_none());
    assert!(state.clear().1.is_empty());
    assert_eq!(state.counts().generation, 0, "it was clear");
    state.ready();
    assert!(state.begin_connect(true).is_some());
    drop(state.clear());
    assert!(state.is_paused() && state.begin_connect(true).is_none());
    drop(state.retire());
    state.ready();
    assert!(state.is_paused(), "its node is gone");
}

#[test]
fn the_old_and_the_idle_are_reaped_down_to_the_minimum() {
    let (mut state, now) = (ready(options(4, 1)), Instant::now());
    for connection in 1..=3 {
        open(&mut state, connection, 0, now);
    }
    let later = now + Duration::from_secs(599);
    assert!(state.reap(later).is_empty());
    let reaped = state.reap(now + Duration::from_secs(600));
    assert_eq!(
        reaped.iter().map(|pooled| pooled.connection).collect::<Vec<_>>(),
        [1, 2]
    );
    let mut last = check_out(&mut state, Ordinary).unwrap();
    last.about.expires = Some(later);
    assert!(
        matches!(state.place(last, later), Placed::Unwanted(_)),
        "too old to be lent again"
    );
    assert_eq!(state.counts().idle, 0);
}

#[test]
fn lifetimes_differ_by_up_to_a_tenth() {
    let hour = Duration::from_secs(3600);
    assert_eq!(lifetime(hour, 0.0), hour);
    assert_eq!(lifetime(hour, 1.0), Duration::from_secs(3240));
}

#[test]
fn neither_share_takes_from_the_other_and_idle_connections_serve_both() {
    let (mut state, now) = (ready(options(1, 0)), Instant::now());
    open(&mut state, 1, 0, now);
    let await_one = check_out(&mut state, Awaiting).unwrap();
    assert!(check_out(&mut state, Ordinary).is_none(), "nothing is idle");
    open(&mut state, 2, 0, now);
    let ordinary = check_out(&mut state, Ordinary).unwrap();
    wait(&mut state, Awaiting, 10);
    let (making, _) = state.begin_connect(false).unwrap();
    assert_eq!(making.share, Awaiting);
    let Placed::Waiter(10, await_two) = state.connected(pooled(3, 0, making), now) else {
        panic!("it was made for the one who waits to await")
    };
    wait(&mut state, Ordinary, 11);
    wait(&mut state, Awaiting, 12);
    assert!(state.begin_connect(true).is_none(), "both shares are lent out");
    let counts = state.counts();
    assert_eq!((counts.in_use, counts.awaiting), (1, 2));
    assert_eq!((counts.waiting, counts.waiting_to_await), (1, 1));
    let Placed::Waiter(12, await_one) = state.place(await_one, now) else {
        panic!("an await's connection goes to the next await: the ordinary share has no room")
    };
    let Placed::Waiter(11, _ordinary) = state.place(ordinary, now) else {
        panic!()
    };
    assert!(matches!(state.place(await_one, now), Placed::Idle));
    assert!(matches!(state.place(await_two, now), Placed::Idle));
    assert!(
        check_out(&mut state, Ordinary).is_none(),
        "idle ones do not widen the share"
    );
}

#[test]
fn room_that_a_closed_connection_leaves_is_filled_from_the_idle_ones() {
    let (mut state, now) = (ready(options(1, 0)), Instant::now());
    for connection in 1..=3 {
        let share = if connection == 1 { Ordinary } else { Awaiting };
        wait(&mut state, share, connection);
        let (making, _) = state.begin_connect(false).unwrap();
        let placed = state.connected(pooled(connection, 0, making), now);
        let Placed::Waiter(_, back) = placed else { panic!() };
        if connection > 1 {
            state.place(back, now);
        }
    }
    wait(&mut state, Ordinary, 77);
    let mut stale = Vec::new();
    assert!(
        state.serve_idle(|_| false, now, &mut stale).is_none(),
        "there is no room yet"
    );
    state.discard(&Identity::SERVICE, Ordinary);
    let (waiter, served) = state
        .serve_idle(|connection| *connection == 3, now, &mut stale)
        .unwrap();
    assert_eq!((waiter, served.connection, served.share), (77, 2, Ordinary));
    assert_eq!(stale.len(), 1);
    assert!(
        state.serve_idle(|_| false, now, &mut stale).is_none(),
        "nobody waits any more"
    );
}

#[test]
fn ordinary_commands_are_connected_for_first() {
    let mut state = ready(options(4, 0));
    for waiter in 0..2 {
        wait(&mut state, Awaiting, waiter);
    }
    wait(&mut state, Ordinary, 9);
    let mut shares = std::iter::from_fn(|| state.begin_connect(false).map(|(making, _)| making.share));
    assert_eq!(
        [shares.next(), shares.next(), shares.next()],
        [Some(Ordinary), Some(Awaiting), None]
    );
    assert_eq!(
        state.connect_failed(&Identity::SERVICE, Awaiting),
        Some(0),
        "those are told whom it was for"
    );
}

#[test]
fn without_a_share_of_their_own_awaits_draw_on_the_ordinary_one() {
    let none = Options {
        max_awaiting: 0,
        ..options(1, 0)
    };
    let (mut state, now) = (ready(none), Instant::now());
    open(&mut state, 1, 0, now);
    let lent = check_out(&mut state, Awaiting).unwrap();
    wait(&mut state, Awaiting, 5);
    let counts = state.counts();
    assert_eq!(
        (counts.in_use, counts.waiting, counts.waiting_to_await),
        (1, 1, 0)
    );
    assert!(matches!(state.place(lent, now), Placed::Waiter(5, _)));
}

#[path = "chance_tests.rs"]
mod chance;
#[path = "turns_tests.rs"]
mod turns;
