//! What of a connection string Tidegate can do today: everything else is refused, or told to have no effect.
//!
//! Reading a string and judging it are apart, so that it is read in full, by the specifications, whatever can be done.

use super::{
    ConnectionString, Credential, Host, UriError, UriOptions,
    honoured::honoured,
    table::{self, Treatment},
};
use crate::{topology::Address, upstream::SrvOptions};

/// A connection string that Tidegate can use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Supported {
    /// The nodes that it names; empty for `mongodb+srv://` until the DNS was asked.
    pub seeds: Vec<Address>,
    /// What the DNS is asked for.
    pub srv: Option<SrvOptions>,
    /// The options that concern a proxy.
    pub options: UriOptions,
    /// Whom to be towards the nodes.
    pub credential: Option<Credential>,
    /// What has no effect, and why.
    pub notes: Vec<String>,
}

impl ConnectionString {
    /// Sorts out what can be done with it.
    ///
    /// # Errors
    /// For all that asks for what Tidegate cannot do, and that it would be wrong to ignore.
    pub fn supported(&self) -> Result<Supported, Vec<UriError>> {
        let mut errors = Vec::new();
        let mut supported = Supported::default();
        match self.credential() {
            Ok(credential) => supported.credential = credential,
            Err(wrong) => errors.extend(wrong),
        }
        if let Some(credential) = &supported.credential {
            self.judge_credential(credential, &mut errors);
        } else if self.options.get("authSource").is_some() {
            // Without a user it asks for nothing (Connection String specification, "Auth Database").
            let note = "authSource has no effect: it says where a user is kept, and none is named";
            supported.notes.push(note.to_owned());
        }
        for (index, host) in self.hosts.iter().enumerate() {
            match host {
                Host::Tcp(address) => supported.seeds.push(address.clone()),
                Host::Unix(_) => errors.push(UriError::UnixSocket { position: index + 1 }),
            }
        }
        self.judge_options(&mut errors, &mut supported.notes);
        if self.database.is_some() && supported.credential.is_none() {
            let note = "the database name has no effect: every command of a client names its own";
            supported.notes.push(note.to_owned());
        }
        supported.options = honoured(&self.options, &mut supported.notes);
        supported.srv = self.srv_options();
        if errors.is_empty() {
            Ok(supported)
        } else {
            Err(errors)
        }
    }

    fn judge_options(&self, errors: &mut Vec<UriError>, notes: &mut Vec<String>) {
        match self.options.boolean("tls") {
            Some(true) => {}
            Some(false) => notes.extend(
                self.tls_options()
                    .map(|name| format!("{name} has no effect: tls is false")),
            ),
            // Left alone it would be spoken in the clear, which whoever gave them does not expect.
            None => errors.extend(self.tls_options().map(|option| UriError::Unsupported {
                option,
                why: "has a meaning only with TLS: add tls=true",
            })),
        }
        if self.options.boolean("loadBalanced") == Some(true) {
            errors.push(UriError::Unsupported {
                option: "loadBalanced",
                why: "Tidegate watches each node of a set itself, which it cannot do behind a load balancer",
            });
        }
        for (name, _) in self.options.iter() {
            match table::find(name).map(|row| row.treatment) {
                Some(Treatment::Refused(why)) => errors.push(UriError::Unsupported { option: name, why }),
                Some(Treatment::NoEffect(why)) => notes.push(format!("{name} has no effect: {why}")),
                Some(Treatment::Honoured) | None => {}
            }
        }
    }

    /// The options given that concern TLS, but for `tls` itself.
    fn tls_options(&self) -> impl Iterator<Item = &'static str> {
        let names = self.options.iter().map(|(name, _)| name);
        names.filter(|name| name.starts_with("tls") && *name != "tls" && !name.starts_with("tlsDisable"))
    }

    /// What the DNS is asked for, if anything.
    #[must_use]
    pub fn srv_options(&self) -> Option<SrvOptions> {
        let host = self.srv_host.clone()?;
        let default = SrvOptions::new(host);
        let most = self
            .options
            .integer("srvMaxHosts")
            .and_then(|most| usize::try_from(most).ok());
        Some(SrvOptions {
            service: self
                .options
                .text("srvServiceName")
                .map_or(default.service, str::to_owned),
            max_hosts: most.unwrap_or(0),
            ..default
        })
    }
}
