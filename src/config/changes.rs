//! What a reload changes: which keys differ, and which of them a running proxy can take over.
//!
//! [`KEYS`] has every key of the file and says when a change of it takes effect. Configurations are compared by what their keys come to:
//! a default that follows from another key, or from the connection string, counts as a change of the key whose value it is.

use super::Config;
use crate::{
    admin::Setting,
    client::{Limits, ListenerOptions},
    tls::AcceptorOptions,
};

/// When a change of a key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// At once, for clients that are connected at their next command.
    AtOnce,
    /// For clients, logins or connections that come later.
    NewConnections,
    /// With the next start.
    Restart,
}

/// One key whose value has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As `pool.max_size`, or `listener[127.0.0.1:27018].read_only`.
    pub key: String,
    /// When it takes effect.
    pub takes_effect: Effect,
}

/// A key of the file.
pub(super) struct Key {
    /// With its section, as `limits.max_clients`.
    pub(super) name: &'static str,
    pub(super) effect: Effect,
    differs: Differs,
}

enum Differs {
    /// Somewhere in the configuration.
    Here(fn(&Config, &Config) -> bool),
    /// In a listener that stays at its address.
    Listener(fn(&ListenerOptions, &ListenerOptions) -> bool),
    /// It has no value of its own: a change of it shows as one of this key.
    As(#[allow(dead_code, reason = "says to who reads the table where it shows")] &'static str),
}

macro_rules! keys {
    ($($name:literal $effect:ident $kind:ident $differs:expr;)*) => {
        &[$(Key { name: $name, effect: Effect::$effect, differs: Differs::$kind($differs) }),*]
    };
}

/// Every key, in the order of `proxy.toml`.
pub(super) const KEYS: &[Key] = keys! {
    "upstream.uri" Restart Here |a, b| {
        let nameserver = b.upstream.nameserver;
        let app_name = b.upstream.app_name.clone();
        crate::upstream::Options { nameserver, app_name, ..a.upstream.clone() } != b.upstream
    };
    "upstream.uri_file" Restart As "upstream.uri";
    "upstream.nameserver" Restart Here |a, b| a.upstream.nameserver != b.upstream.nameserver;
    "upstream.app_name" Restart Here |a, b| a.upstream.app_name != b.upstream.app_name;
    "upstream.comment" NewConnections Here |a, b| identifies(a) != identifies(b);

    "listener.address" AtOnce As "listener";
    "listener.unix_mode" Restart Listener |a, b| a.unix_mode != b.unix_mode;
    "listener.presents_as" Restart Listener |a, b| a.presents_as != b.presents_as;
    "listener.advertise" Restart Listener |a, b| a.advertise != b.advertise;
    "listener.secondary_address" Restart Listener |a, b| {
        let address = |options: &ListenerOptions| options.twin.as_ref().map(|twin| twin.address);
        address(a) != address(b)
    };
    "listener.advertise_secondary" Restart Listener |a, b| {
        let advertised = |options: &ListenerOptions| options.twin.as_ref().and_then(|twin| twin.advertise.clone());
        advertised(a) != advertised(b)
    };
    "listener.node" Restart Listener |a, b| a.reach != b.reach;
    "listener.read_preference" AtOnce Listener |a, b| a.read_preference != b.read_preference;
    "listener.fail_points" AtOnce Listener |a, b| a.fail_points != b.fail_points;
    "listener.compressors" NewConnections Listener |a, b| a.compressors != b.compressors;
    "listener.legacy" AtOnce Listener |a, b| a.translates != b.translates;
    "listener.max_wire_version" NewConnections Listener |a, b| a.max_wire_version != b.max_wire_version;
    "listener.allow_networks" NewConnections Listener |a, b| a.allow_networks != b.allow_networks;
    "listener.deny_commands" AtOnce Listener |a, b| a.policy != b.policy;
    "listener.read_only" AtOnce As "listener.deny_commands";

    "listener.tls.mode" NewConnections Listener |a, b| {
        let mode = |options: &ListenerOptions| options.tls.as_ref().map(|tls| tls.plain_too);
        mode(a) != mode(b)
    };
    "listener.tls.certificate" NewConnections Listener |a, b| tls(a, |tls| &tls.certificate) != tls(b, |tls| &tls.certificate);
    "listener.tls.key" NewConnections Listener |a, b| tls(a, |tls| &tls.key) != tls(b, |tls| &tls.key);
    "listener.tls.key_password_file" NewConnections Listener |a, b| {
        tls(a, |tls| &tls.key_password) != tls(b, |tls| &tls.key_password)
    };
    "listener.tls.client_ca" NewConnections Listener |a, b| tls(a, |tls| &tls.client_ca) != tls(b, |tls| &tls.client_ca);
    "listener.tls.client_certificates" NewConnections Listener |a, b| {
        tls(a, |tls| &tls.client_certificates) != tls(b, |tls| &tls.client_certificates)
    };
    "listener.tls.min_version" NewConnections Listener |a, b| tls(a, |tls| &tls.min_version) != tls(b, |tls| &tls.min_version);

    "auth.source" Restart Here |a, b| a.auth.source != b.auth.source;
    "auth.users_file" NewConnections Here |a, b| a.auth.users_file != b.auth.users_file;
    "auth.credential_ttl" Restart Here |a, b| a.auth.credential_ttl != b.auth.credential_ttl;
    "auth.mechanisms" NewConnections Here |a, b| a.auth.mechanisms != b.auth.mechanisms;
    "auth.serve_without_login" Restart As "auth.source";

    "pool.max_size" AtOnce Here |a, b| a.pool.max_size != b.pool.max_size;
    "pool.max_awaiting" AtOnce Here |a, b| a.pool.max_awaiting != b.pool.max_awaiting;
    "pool.max_per_user" AtOnce Here |a, b| a.pool.max_per_user != b.pool.max_per_user;
    "pool.min_per_user" AtOnce Here |a, b| a.pool.min_per_user != b.pool.min_per_user;
    "pool.min_size" AtOnce Here |a, b| a.pool.min_size != b.pool.min_size;
    "pool.max_connecting" AtOnce Here |a, b| a.pool.max_connecting != b.pool.max_connecting;
    "pool.wait_timeout" AtOnce Here |a, b| a.pool.wait_timeout != b.pool.wait_timeout;
    "pool.idle_timeout" AtOnce Here |a, b| a.pool.idle_timeout != b.pool.idle_timeout;
    "pool.max_lifetime" NewConnections Here |a, b| a.pool.max_lifetime != b.pool.max_lifetime;

    "failover.hold" AtOnce Here |a, b| a.failover.hold != b.failover.hold;
    "failover.hold_commands" AtOnce Here |a, b| a.failover.hold_commands != b.failover.hold_commands;
    "failover.hold_bytes" AtOnce Here |a, b| a.failover.hold_bytes != b.failover.hold_bytes;
    "failover.exactly_once" AtOnce Here |a, b| a.failover.exactly_once != b.failover.exactly_once;

    "drain.grace" AtOnce Here |a, b| a.drain.grace != b.drain.grace;
    "drain.deadline" AtOnce Here |a, b| a.drain.deadline != b.drain.deadline;

    "limits.max_clients" AtOnce Here |a, b| a.limits.max_clients != b.limits.max_clients;
    "limits.max_clients_per_address" AtOnce Here |a, b| limit(a, b, |limits| &limits.max_clients_per_address);
    "limits.max_unauthenticated" AtOnce Here |a, b| limit(a, b, |limits| &limits.max_unauthenticated);
    "limits.login_timeout" NewConnections Here |a, b| limit(a, b, |limits| &limits.login_timeout);
    "limits.login_delay_max" AtOnce Here |a, b| limit(a, b, |limits| &limits.login_delay_max);
    "limits.handshake_timeout" NewConnections Here |a, b| limit(a, b, |limits| &limits.handshake_timeout);
    "limits.idle_timeout" AtOnce Here |a, b| limit(a, b, |limits| &limits.idle_timeout);
    "limits.buffer_bytes" AtOnce Here |a, b| limit(a, b, |limits| &limits.buffer_bytes);
    "limits.stream_above" AtOnce Here |a, b| limit(a, b, |limits| &limits.stream_above);
    "limits.min_read_rate" AtOnce Here |a, b| limit(a, b, |limits| &limits.min_read_rate);

    "admin.address" Restart Here |a, b| admin(a, |admin| &admin.address) != admin(b, |admin| &admin.address);
    "admin.token" AtOnce Here |a, b| admin(a, |admin| &admin.access.token) != admin(b, |admin| &admin.access.token);
    "admin.token_file" AtOnce As "admin.token";
    "admin.read_token" AtOnce Here |a, b| {
        admin(a, |admin| &admin.access.read_token) != admin(b, |admin| &admin.access.read_token)
    };
    "admin.read_token_file" AtOnce As "admin.read_token";
    "admin.tls.certificate" NewConnections Here |a, b| admin_tls(a, |tls| &tls.certificate) != admin_tls(b, |tls| &tls.certificate);
    "admin.tls.key" NewConnections Here |a, b| admin_tls(a, |tls| &tls.key) != admin_tls(b, |tls| &tls.key);
    "admin.tls.client_ca" NewConnections Here |a, b| admin_tls(a, |tls| &tls.client_ca) != admin_tls(b, |tls| &tls.client_ca);

    "audit.file" AtOnce Here |a, b| a.audit != b.audit;

    "reload.watch" AtOnce Here |a, b| a.watches != b.watches;

    "upgrade.socket" Restart Here |a, b| a.upgrade != b.upgrade;

    "log.level" AtOnce Here |a, b| a.log.level != b.log.level;
    "log.format" Restart Here |a, b| a.log.format != b.log.format;
    "log.slow" AtOnce Here |a, b| a.log.slow != b.log.slow;
};

fn identifies(config: &Config) -> bool {
    config.listeners.iter().any(|listener| listener.identifies)
}

fn limit<T: PartialEq>(a: &Config, b: &Config, of: fn(&Limits) -> &T) -> bool {
    of(&a.limits) != of(&b.limits)
}

fn tls<T>(options: &ListenerOptions, of: fn(&AcceptorOptions) -> &T) -> Option<&T> {
    options.tls.as_ref().map(|tls| of(tls.acceptor.options()))
}

fn admin<T>(config: &Config, of: fn(&crate::admin::Options) -> &T) -> Option<&T> {
    config.admin.as_ref().map(of)
}

fn admin_tls<T>(config: &Config, of: fn(&AcceptorOptions) -> &T) -> Option<&T> {
    let tls = config.admin.as_ref()?.tls.as_ref()?;
    Some(of(tls.options()))
}

/// What a reload comes to.
#[derive(Debug)]
pub struct Changes {
    /// The new configuration, with what a running proxy cannot take over left as it is.
    pub effective: Config,
    /// Listeners that are to be served, too.
    pub opened: Vec<ListenerOptions>,
    /// Listeners that are not to be served any more.
    pub closed: Vec<ListenerOptions>,
    /// Every key that differs, in the order of `proxy.toml`.
    pub changes: Vec<Change>,
}

impl Changes {
    /// The keys of those that take effect so.
    pub fn that_take_effect(&self, when: Effect) -> impl Iterator<Item = &str> {
        let those = self
            .changes
            .iter()
            .filter(move |change| change.takes_effect == when);
        those.map(|change| change.key.as_str())
    }
}

impl Changes {
    /// Compares what runs with what shall run.
    #[must_use]
    pub fn between(running: &Config, new: &Config) -> Self {
        let effective = effective(running, new);
        let mut changes = Vec::new();
        let pairs = Pairs::of(&running.listeners, &effective.listeners);
        let asked_for = Pairs::of(&running.listeners, &new.listeners);
        for key in KEYS {
            // What a change of another key keeps back does not take effect either.
            let (config, pairs) = match key.effect {
                Effect::Restart => (new, &asked_for),
                _ => (&effective, &pairs),
            };
            changes.extend(key.changes(running, config, pairs));
        }
        let named = |options: &ListenerOptions, what| Change {
            key: format!("listener[{}] {what}", options.address),
            takes_effect: Effect::AtOnce,
        };
        changes.extend(pairs.opened.iter().map(|options| named(options, "opened")));
        changes.extend(pairs.closed.iter().map(|options| named(options, "closed")));
        let owned = |listeners: Vec<&ListenerOptions>| listeners.into_iter().cloned().collect();
        let (opened, closed) = (owned(pairs.opened), owned(pairs.closed));
        Self {
            effective,
            opened,
            closed,
            changes,
        }
    }
}

impl Key {
    fn changes(&self, running: &Config, new: &Config, pairs: &Pairs<'_>) -> Vec<Change> {
        let change = |key: String| Change {
            key,
            takes_effect: self.effect,
        };
        match self.differs {
            Differs::Here(differs) if differs(running, new) => vec![change(self.name.to_owned())],
            Differs::Here(_) | Differs::As(_) => Vec::new(),
            Differs::Listener(differs) => {
                let changed = pairs.kept.iter().filter(|(old, new)| differs(old, new));
                let key = self.name.trim_start_matches("listener");
                changed
                    .map(|(old, _)| change(format!("listener[{}]{key}", old.address)))
                    .collect()
            }
        }
    }
}

/// Listeners before and after, matched by their addresses.
struct Pairs<'a> {
    kept: Vec<(&'a ListenerOptions, &'a ListenerOptions)>,
    opened: Vec<&'a ListenerOptions>,
    closed: Vec<&'a ListenerOptions>,
}

impl<'a> Pairs<'a> {
    fn of(old: &'a [ListenerOptions], new: &'a [ListenerOptions]) -> Self {
        let mut closed: Vec<_> = old.iter().collect();
        let (mut kept, mut opened) = (Vec::new(), Vec::new());
        for new in new {
            // Several may have port 0, each for a port of its own.
            match closed.iter().position(|old| old.address == new.address) {
                Some(found) => kept.push((closed.remove(found), new)),
                None => opened.push(new),
            }
        }
        Self { kept, opened, closed }
    }
}

/// What can run: `new`, with what needs a restart as it is in `running`.
fn effective(running: &Config, new: &Config) -> Config {
    let mut new = new.clone();
    new.connection = running.connection.clone();
    new.upstream = running.upstream.clone();
    // Whether clients log in, and by what, hangs together.
    if new.auth.source == running.auth.source {
        new.auth.credential_ttl = running.auth.credential_ttl;
    } else {
        new.auth = running.auth.clone();
    }
    new.log.format = running.log.format;
    new.settings = settings(running, &new);
    new.upgrade.clone_from(&running.upgrade);
    match (&running.admin, &mut new.admin) {
        (Some(running), Some(new)) if running.address == new.address => {
            keep_if_equal(&running.tls, &mut new.tls)
        }
        (running, new) => new.clone_from(running),
    }
    let mut rest: Vec<_> = running.listeners.iter().collect();
    for listener in &mut new.listeners {
        listener.demands_login = new.auth.source.demands_login();
        if let Some(found) = rest.iter().position(|old| old.address == listener.address) {
            let old = rest.remove(found);
            listener.unix_mode = old.unix_mode;
            listener.presents_as = old.presents_as;
            listener.advertise.clone_from(&old.advertise);
            listener.twin.clone_from(&old.twin);
            listener.reach.clone_from(&old.reach);
            keep_if_equal(&old.tls, &mut listener.tls);
        }
    }
    new
}

/// What is shown of the settings: of those that need a restart what is in force.
fn settings(running: &Config, new: &Config) -> Vec<Setting> {
    let needs_restart = |shown: &str| {
        // `listener[0].node` is `listener.node`.
        let name = match (shown.split_once('['), shown.split_once(']')) {
            (Some((before, _)), Some((_, after))) => format!("{before}{after}"),
            _ => shown.to_owned(),
        };
        KEYS.iter()
            .any(|key| key.name == name && key.effect == Effect::Restart)
    };
    let in_force = |setting: &Setting| {
        let old = running.settings.iter().find(|old| old.key == setting.key);
        let kept = old.filter(|_| needs_restart(&setting.key));
        kept.unwrap_or(setting).clone()
    };
    new.settings.iter().map(in_force).collect()
}

/// Of two that are equal the running one stays: its files are watched.
fn keep_if_equal<T: PartialEq + Clone>(running: &T, new: &mut T) {
    if running == new {
        new.clone_from(running);
    }
}
