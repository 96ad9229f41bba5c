//! Reloads of the configuration: everything that can fail is done first, then what has changed is put in force, piece by piece. No
//! connection to a node is closed for it, and no client but those of a listener that is removed.

use std::{path::PathBuf, sync::Arc};

use tokio::task::spawn_blocking;

use super::{Error, Proxy, certificates, front, pool_options, settings_of, watch::Watch};
use crate::{
    admin::{Outcome, Reloaded},
    audit,
    auth::UsersFile,
    config::{Changes, Config, Effect, Mistakes, read_users},
    telemetry::log,
};

type Load = dyn Fn() -> Result<Config, Mistakes> + Send + Sync;

/// Where the configuration comes from, each time that it is read.
#[derive(Clone)]
pub struct Source {
    file: Option<PathBuf>,
    load: Arc<Load>,
}

impl Source {
    /// A configuration that `load` reads, and whose main file is `file`, if there is one.
    pub fn new(
        file: Option<PathBuf>,
        load: impl Fn() -> Result<Config, Mistakes> + Send + Sync + 'static,
    ) -> Self {
        Self {
            file,
            load: Arc::new(load),
        }
    }

    /// Its main file.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.file.clone()
    }

    /// Those in which settings stand.
    fn files(&self, config: &Config) -> Vec<PathBuf> {
        self.file.iter().chain(&config.files).cloned().collect()
    }
}

/// What was read.
struct Found {
    watch: Watch,
    config: Result<Config, Mistakes>,
    users: Option<Result<UsersFile, String>>,
}

/// Knows what runs, and puts something else in its place.
pub(super) struct Reloader {
    source: Source,
    /// Before the DNS was asked. Of what needs a restart it has the values in force.
    pub(super) running: Config,
    watch: Watch,
}

impl Reloader {
    /// Begins with the configuration that was just started. Blocks for as long as reading its files takes.
    pub(super) fn new(source: Source, running: Config) -> Self {
        let watch = Watch::new(source.files(&running));
        Self {
            source,
            running,
            watch,
        }
    }

    /// The digest of the main file.
    pub(super) fn hash(&self) -> Option<String> {
        let file = self.source.file.as_deref()?;
        self.watch.digest_of(file).map(str::to_owned)
    }

    /// Whether a file has changed since it was read last.
    pub(super) async fn has_changed(&mut self) -> bool {
        if !self.running.watches {
            return false;
        }
        let mut watch = std::mem::take(&mut self.watch);
        let looked = spawn_blocking(move || {
            let changed = watch.look();
            (watch, changed)
        });
        // It does not panic; should it, there is nothing to look at until the next reload.
        let (watch, changed) = looked.await.unwrap_or_default();
        self.watch = watch;
        changed
    }

    /// Reads the configuration again and puts it in force, as far as that can be done.
    pub(super) async fn reload(&mut self, proxy: &Proxy, why: &str) -> Reloaded {
        let (source, files) = (self.source.clone(), self.watch.files().to_vec());
        let read = spawn_blocking(move || read(&source, files));
        let reloaded = match read.await {
            Ok(found) => {
                // What was removed by the reload before may stand here again.
                proxy.front.closed().await;
                self.take_over(proxy, found).await
            }
            Err(error) => Reloaded::invalid(vec![format!("reading the configuration failed: {error}")]),
        };
        tell(&reloaded, why);
        proxy.reloading.note(&reloaded, self.hash());
        reloaded
    }

    async fn take_over(&mut self, proxy: &Proxy, found: Found) -> Reloaded {
        let old = std::mem::replace(&mut self.watch, found.watch);
        let config = match found.config {
            Ok(config) => config,
            Err(mistakes) => return Reloaded::invalid(mistakes.iter().map(ToString::to_string).collect()),
        };
        let users = match found.users.transpose() {
            Ok(users) => users,
            Err(problem) => return Reloaded::invalid(vec![problem]),
        };
        let changes = Changes::between(&self.running, &config);
        // Of logins nothing changes before the restart then; the users may be none of theirs.
        let users = users.filter(|_| config.auth.users_file == changes.effective.auth.users_file);
        let users_changed = changes
            .effective
            .auth
            .users_file
            .as_ref()
            .is_some_and(|file| users.is_some() && old.digest_of(file) != self.watch.digest_of(file));
        let applied = match proxy.open_audit(&self.running, &changes.effective).await {
            Ok(audit) => proxy.apply(&self.running, &changes, users, audit),
            Err(error) => Err(error),
        };
        if let Err(error) = applied {
            return Reloaded::invalid(vec![explain(&error, &changes)]);
        }
        for warning in config
            .warnings
            .iter()
            .filter(|new| !self.running.warnings.contains(new))
        {
            tracing::warn!("{warning}");
        }
        let keys = |when| {
            changes
                .that_take_effect(when)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let mut reloaded = Reloaded {
            result: Outcome::Applied,
            at_once: keys(Effect::AtOnce),
            for_new_connections: keys(Effect::NewConnections),
            wait_for_restart: keys(Effect::Restart),
            mistakes: Vec::new(),
        };
        let named = reloaded
            .for_new_connections
            .iter()
            .any(|key| key == "auth.users_file");
        if users_changed && !named {
            reloaded
                .for_new_connections
                .push("auth.users_file (its content)".to_owned());
        }
        let [at_once, later] = [&reloaded.at_once, &reloaded.for_new_connections].map(Vec::is_empty);
        if at_once && later && reloaded.wait_for_restart.is_empty() {
            reloaded.result = Outcome::Unchanged;
        }
        self.running = changes.effective;
        reloaded
    }
}

/// Reads all files. What they are like is noted before: so nothing is missed that changes meanwhile.
fn read(source: &Source, mut files: Vec<PathBuf>) -> Found {
    let mut watch = Watch::new(files.clone());
    let config = (source.load)();
    let mut users = None;
    if let Ok(config) = &config {
        let named = source.files(config);
        if named != files {
            files = named;
            watch = Watch::new(files);
        }
        let file = config.auth.users_file.as_ref();
        users = file.map(|file| read_users(file).map_err(|error| error.to_string()));
    }
    Found { watch, config, users }
}

/// Of an address that is taken by a listener which goes in the same reload, says so.
fn explain(error: &Error, changes: &Changes) -> String {
    if let Error::Listen { address, .. } = error
        && let Some(wanted) = address.tcp()
        && let Some(taken) = changes
            .closed
            .iter()
            .filter_map(|closed| closed.address.tcp())
            .find(|closed| closed.port() == wanted.port())
    {
        return format!(
            "cannot listen on {wanted} while {taken} is still listened on: take that [[listener]] out by a reload, and add this one by the \
             next; or restart"
        );
    }
    error.to_string()
}

fn tell(reloaded: &Reloaded, why: &str) {
    match reloaded.result {
        Outcome::Invalid => {
            for mistake in &reloaded.mistakes {
                tracing::error!("{mistake}");
            }
            tracing::error!(
                "the configuration was not reloaded ({why}): it cannot be used, and what runs stays as it is"
            );
        }
        Outcome::Unchanged => tracing::info!("the configuration was reloaded ({why}): nothing has changed"),
        Outcome::Applied => {
            let in_force = [&reloaded.at_once[..], &reloaded.for_new_connections[..]].concat();
            tracing::info!(
                in_force = in_force.join(", "),
                "the configuration was reloaded ({why})"
            );
            if !reloaded.wait_for_restart.is_empty() {
                let keys = reloaded.wait_for_restart.join(", ");
                tracing::warn!(keys, "changes of the configuration wait for a restart");
            }
        }
    }
}

impl Proxy {
    /// Puts a configuration in force. `users` are those of its users file, `audit` is what [`Self::open_audit`] has opened.
    ///
    /// # Errors
    /// When an address cannot be listened on. Nothing has changed then.
    fn apply(
        &self,
        old: &Config,
        changes: &Changes,
        users: Option<UsersFile>,
        audit: Option<Option<audit::Log>>,
    ) -> Result<(), Error> {
        let new = &changes.effective;
        let opened = changes.opened.iter().map(front::bind);
        let opened = opened.collect::<Result<Vec<_>, _>>()?;

        let front = &self.front;
        let (settings, pool) = (settings_of(new), pool_options(new));
        if settings != *self.shared.settings() {
            self.shared.set(Arc::new(settings));
        }
        if pool != **front.pool.load() {
            front.pool.store(Arc::new(pool));
            front.set_pools();
        }
        if let Some(logins) = self.shared.logins()
            && (users.is_some() || new.auth.users_file.is_none())
        {
            let users = users.unwrap_or_default();
            self.shared
                .set_logins(Arc::new(logins.renewed(new.auth.clone(), users)));
        }
        self.shared.slow.set_threshold(new.log.slow);
        if new.log.level != old.log.level && !log::set_level(&new.log.level) {
            tracing::warn!(
                "the log keeps its level: {} sets it over [log] level",
                log::VARIABLE
            );
        }
        if let Some(audit) = audit {
            self.shared.audit.switch_to(audit);
        }
        for closed in &changes.closed {
            front.remove(closed, &new.drain);
        }
        let is_same =
            new.limits == old.limits && new.failover == old.failover && new.listeners == old.listeners;
        if !is_same {
            front.set_terms(&new.listeners);
        }
        for bound in opened {
            front.serve(bound)?;
        }
        if let (Some(view), Some(admin)) = (&self.view, &new.admin) {
            view.settings.store(Arc::new(new.settings.clone()));
            view.access.store(Arc::new(admin.access.clone()));
            view.tls.store(admin.tls.clone().map(Arc::new));
        }
        self.certificates.store(Arc::new(certificates::of(new)));
        Ok(())
    }

    /// Opens the target of the audit log if it is another one; `Some(None)` if there shall be none any more. A file that cannot be opened at once
    /// holds nothing else up.
    async fn open_audit(&self, old: &Config, new: &Config) -> Result<Option<Option<audit::Log>>, Error> {
        match &new.audit {
            same if *same == old.audit => Ok(None),
            None => Ok(Some(None)),
            Some(target) => {
                let (audit, other) = (self.shared.audit.clone(), target.clone());
                let opened = spawn_blocking(move || audit.open(&other)).await;
                let opened = opened.unwrap_or_else(|ended| Err(ended.into()));
                let failed = |source| Error::Audit {
                    path: target.to_string(),
                    source,
                };
                opened.map(|log| Some(Some(log))).map_err(failed)
            }
        }
    }
}
