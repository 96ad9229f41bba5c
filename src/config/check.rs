//! What must hold between settings that are each right by themselves.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

use super::{
    mistake::{Place, Report},
    reader::Section,
    values,
};
use crate::{
    client::{Limits, ListenAddress, ListenerOptions, Presentation, Reach, Twin, UNIX_MODE, drain},
    failover, pool,
    topology::Address,
};

/// Bounds of the number of clients.
pub(super) const MOST_CLIENTS: usize = 10_000_000;
/// Requests and replies each get half of the buffer, and a message of 48 MB must fit in either half.
pub(super) const BUFFER_BYTES: RangeInclusive<usize> = 128 << 20..=1 << 40;
/// A message of 48 MB must find room to wait.
pub(super) const HOLD_BYTES: RangeInclusive<usize> = 64 << 20..=1 << 40;
/// No message is longer than 48 MB, and below 64 KiB a reply arrives in one read anyway.
pub(super) const STREAM_ABOVE: RangeInclusive<usize> = 64 << 10..=48_000_000;
/// In bytes per second: more than the fastest network has would close every client.
pub(super) const MIN_READ_RATE: RangeInclusive<usize> = 1..=1 << 30;

/// Checks the pool's sizes against each other. The error is for the connection string, where both come from there.
pub(super) fn pool(section: &mut Section<'_>, options: &pool::Options) -> Result<(), String> {
    if let Some(max) = options.max_per_user
        && options.min_per_user > max
        && section.are_sound(&["min_per_user", "max_per_user"])
    {
        let min = options.min_per_user;
        let (key, problem) = if section.is_given("min_per_user") {
            (
                "min_per_user",
                format!("{min} is more than max_per_user ({max}); it must be at most that"),
            )
        } else {
            (
                "max_per_user",
                format!("{max} is less than min_per_user ({min}); it must be at least that"),
            )
        };
        section.mistake(key, problem);
    }
    if options.min_size <= options.max_size || !section.are_sound(&["min_size", "max_size"]) {
        return Ok(());
    }
    let (min, max) = (options.min_size, options.max_size);
    if section.is_given("min_size") {
        section.mistake(
            "min_size",
            format!("{min} is more than max_size ({max}); it must be at most that"),
        );
    } else if section.is_given("max_size") {
        section.mistake(
            "max_size",
            format!("{max} is less than minPoolSize of the uri ({min}); it must be at least that"),
        );
    } else {
        return Err(format!("minPoolSize ({min}) is more than maxPoolSize ({max})"));
    }
    Ok(())
}

/// Checks the limits on clients against each other.
pub(super) fn limits(section: &mut Section<'_>, limits: &Limits) {
    let keys = ["max_clients", "max_clients_per_address"];
    if limits
        .max_clients_per_address
        .is_some_and(|most| most > limits.max_clients)
        && section.are_sound(&keys)
    {
        let problem = format!(
            "has no effect: it is more than max_clients ({})",
            limits.max_clients
        );
        section.warning("max_clients_per_address", problem);
    }
    if limits.max_unauthenticated >= limits.max_clients
        && limits.max_clients > 1
        && section.is_given("max_unauthenticated")
        && section.are_sound(&["max_clients", "max_unauthenticated"])
    {
        let problem = format!(
            "leaves no place for clients that log in: it must be below max_clients ({})",
            limits.max_clients
        );
        section.mistake("max_unauthenticated", problem);
    }
}

/// Checks that commands that wait leave room for those that need not.
pub(super) fn failover(section: &mut Section<'_>, options: &failover::Options, limits: &Limits) {
    let requests = limits.buffer_bytes / 2;
    if options.hold_bytes > requests {
        let problem = format!(
            "is more than the half of buffer_bytes that requests have ({}): commands that wait can leave no room for \
             others",
            values::display_size(requests)
        );
        section.warning("hold_bytes", problem);
    }
}

/// Checks that a drain has time for its clients once new ones are refused.
pub(super) fn drain(section: &mut Section<'_>, options: &drain::Options) {
    if section.are_sound(&["grace", "deadline"]) && options.deadline <= options.grace {
        let key = if section.is_given("deadline") {
            "deadline"
        } else {
            "grace"
        };
        let problem = format!(
            "deadline ({:?}) must be longer than grace ({:?}), which is a part of it: no time would be left for transactions and cursors to end",
            options.deadline, options.grace
        );
        section.mistake(key, problem);
    }
}

/// Checks that the admin endpoint has an address of its own.
pub(super) fn admin(section: &mut Section<'_>, address: SocketAddr, listeners: &[(ListenerOptions, Place)]) {
    if !section.are_sound(&["address"]) {
        return;
    }
    let taken = listeners
        .iter()
        .find_map(|(listener, _)| addresses(listener).find(|taken| collide(taken, &address.into())));
    if let Some(taken) = taken {
        let problem = format!("{address} is taken by the listener on {taken}");
        section.mistake("address", problem);
    }
}

/// Checks a listener's settings against each other.
pub(super) fn listener(section: &mut Section<'_>, options: &ListenerOptions) {
    let is_local = |address: &ListenAddress| match address {
        ListenAddress::Tcp(address) => address.ip().is_loopback(),
        ListenAddress::Unix(_) => true,
    };
    let is_local_path = matches!(options.address, ListenAddress::Unix(_));
    if !is_local_path && options.unix_mode != UNIX_MODE {
        section.mistake(
            "unix_mode",
            "has no meaning: address is not the path of a Unix domain socket",
        );
    }
    if is_local_path && options.tls.is_some() {
        section.mistake(
            "tls",
            "has no meaning on a Unix domain socket, which nobody else can listen to",
        );
    }
    let twin = options.twin.as_ref().and_then(|twin| twin.advertise.as_ref());
    for (key, shown) in [
        ("advertise", options.advertise.as_ref()),
        ("advertise_secondary", twin),
    ] {
        let ip = shown.and_then(|shown| shown.host().parse::<IpAddr>().ok());
        if ip.is_some_and(|ip| ip.is_unspecified()) {
            section.mistake(
                key,
                "is no address that can be dialled; write the one by which applications reach this host",
            );
        }
    }
    let names_itself = options.presents_as == Presentation::ReplicaSet || options.reach != Reach::Cluster;
    let is_reachable = is_local(&options.address) && !is_local_path;
    if names_itself && !is_reachable && !section.is_given("advertise") {
        section.mistake(
            "advertise",
            format!(
                "is missing: drivers are told by which address to find this member of the set, and for {} that cannot \
                 be known; write advertise = \"HOST:PORT\", as applications reach it",
                options.address
            ),
        );
    }
    if options.reach != Reach::Cluster {
        for key in ["presents_as", "secondary_address", "read_preference"] {
            if section.is_given(key) {
                section.mistake(
                    key,
                    "has no meaning with node: the listener shows that member as it is",
                );
            }
        }
    } else if let Some(twin) = &options.twin {
        second_alias(section, options, twin);
    }
}

fn second_alias(section: &mut Section<'_>, options: &ListenerOptions, twin: &Twin) {
    let address = ListenAddress::Tcp(twin.address);
    if options.presents_as != Presentation::ReplicaSet {
        let problem = "needs presents_as = \"replica_set\": a mongos shows no secondaries";
        section.mistake("secondary_address", problem);
    } else if options.address.tcp().is_none() {
        let problem = "needs an IP address and port as address too: drivers must find both";
        section.mistake("secondary_address", problem);
    } else if collide(&options.address, &address) {
        section.mistake(
            "secondary_address",
            format!("{address} is the listener's own address"),
        );
    } else if [options.advertise.as_ref(), twin.advertise.as_ref()] != [None, None]
        && shown_at(&options.address, options.advertise.as_ref())
            == shown_at(&address, twin.advertise.as_ref())
    {
        let problem = "is by what applications find the primary too: each needs an address of its own";
        section.mistake("advertise_secondary", problem);
    }
    if !twin.address.ip().is_loopback()
        && twin.advertise.is_none()
        && section.are_sound(&["advertise_secondary"])
    {
        let problem = format!(
            "is missing: for {address} it cannot be known by which address applications find it; write \
             advertise_secondary = \"HOST:PORT\""
        );
        section.mistake("advertise_secondary", problem);
    }
}

/// By which address drivers find an alias.
fn shown_at(address: &ListenAddress, advertise: Option<&Address>) -> String {
    advertise.map_or_else(|| address.to_string(), Address::to_string)
}

/// Every address that a listener is bound to.
fn addresses(listener: &ListenerOptions) -> impl Iterator<Item = ListenAddress> {
    let twin = listener.twin.as_ref().map(|twin| twin.address.into());
    [listener.address.clone()].into_iter().chain(twin)
}

fn all_collide(one: &ListenerOptions, other: &ListenerOptions) -> Option<(ListenAddress, ListenAddress)> {
    addresses(one).find_map(|one| {
        let taken = addresses(other).find(|other| collide(&one, other))?;
        Some((one, taken))
    })
}

/// Checks that no two listeners want one address; the later one is reported.
pub(super) fn listeners(listeners: &[(ListenerOptions, Place)], report: &mut Report) {
    for (index, (listener, place)) in listeners.iter().enumerate() {
        let taken = listeners[..index]
            .iter()
            .enumerate()
            .find_map(|(earlier, (other, _))| Some((earlier, all_collide(listener, other)?)));
        if let Some((earlier, (address, other))) = taken {
            let key = format!("listener[{index}].address");
            report.mistake(
                place,
                &key,
                format!("{address} is taken by listener[{earlier}] on {other}"),
            );
        }
    }
}

/// Whether both cannot be bound at once. Port 0 asks for any free port.
fn collide(one: &ListenAddress, other: &ListenAddress) -> bool {
    let (ListenAddress::Tcp(one), ListenAddress::Tcp(other)) = (one, other) else {
        return one == other;
    };
    let overlap = one.ip() == other.ip()
        || one.is_ipv4() == other.is_ipv4() && (one.ip().is_unspecified() || other.ip().is_unspecified());
    one.port() != 0 && one.port() == other.port() && overlap
}
