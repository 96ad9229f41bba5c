//! What must hold between settings that are each right by themselves.

use std::{net::SocketAddr, ops::RangeInclusive};

use super::{
    mistake::{Place, Report},
    reader::Section,
};
use crate::{
    client::{Limits, ListenAddress, ListenerOptions},
    pool,
};

/// Bounds of the number of clients.
pub(super) const MOST_CLIENTS: usize = 10_000_000;
/// Requests and replies each get half of the buffer, and a message of 48 MB must fit in either half.
pub(super) const BUFFER_BYTES: RangeInclusive<usize> = 128 << 20..=1 << 40;
/// No message is longer than 48 MB, and below 64 KiB a reply arrives in one read anyway.
pub(super) const STREAM_ABOVE: RangeInclusive<usize> = 64 << 10..=48_000_000;

/// Checks the pool's sizes against each other. The error is for the connection string, where both come from there.
pub(super) fn pool(section: &mut Section<'_>, options: &pool::Options) -> Result<(), String> {
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
}

/// Checks that the admin endpoint is not open to others, and has an address of its own.
pub(super) fn admin(section: &mut Section<'_>, address: SocketAddr, listeners: &[(ListenerOptions, Place)]) {
    if !section.are_sound(&["address"]) {
        return;
    }
    if !address.ip().is_loopback() {
        section.mistake(
            "address",
            format!(
                "{address} can be reached from other hosts, and a bearer token or mTLS are not supported yet; \
                 use an address of this host alone, such as 127.0.0.1:{}",
                address.port()
            ),
        );
    }
    if let Some((listener, _)) = listeners
        .iter()
        .find(|(listener, _)| collide(&listener.address, &address.into()))
    {
        section.mistake(
            "address",
            format!("{address} is taken by the listener on {}", listener.address),
        );
    }
}

/// Checks that no two listeners want one address; the later one is reported.
pub(super) fn listeners(listeners: &[(ListenerOptions, Place)], report: &mut Report) {
    for (index, (listener, place)) in listeners.iter().enumerate() {
        let earlier = listeners[..index]
            .iter()
            .position(|(other, _)| collide(&other.address, &listener.address));
        if let Some(earlier) = earlier {
            let key = format!("listener[{index}].address");
            let (address, other) = (&listener.address, &listeners[earlier].0.address);
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
