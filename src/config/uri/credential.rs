//! Whom to be towards the nodes (MongoDB Authentication specification, "Connection String Options" and each mechanism's
//! "MongoCredential Properties").

use std::{fmt, sync::Arc};

use super::{ConnectionString, Secret, UriError};
use crate::{
    auth::{Mechanism, UserName, scram},
    upstream::{Login, login::EXTERNAL},
};

const MECHANISM: &str = "authMechanism";
const PROPERTIES: &str = "authMechanismProperties";

/// A user, and how the user shows that it is the one.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user and the database that keeps the user. The name is empty where the certificate tells it.
    pub user: UserName,
    /// The mechanism; `None` where it is agreed on with the nodes.
    pub mechanism: Option<Mechanism>,
    /// The password; certificates have none.
    pub password: Option<Secret>,
}

impl Credential {
    /// The login that it stands for.
    #[must_use]
    pub fn login(&self) -> Arc<Login> {
        let Some(password) = &self.password else {
            return Arc::new(Login::with_certificate(&self.user.name));
        };
        let secret = scram::Secret::Password(password.expose().to_owned().into());
        Arc::new(match self.mechanism {
            Some(mechanism) => Login::new(self.user.clone(), mechanism, secret),
            None => Login::negotiated(self.user.clone(), secret),
        })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(***)")
    }
}

impl ConnectionString {
    /// The credential that the string gives, if any.
    ///
    /// # Errors
    /// Where the mechanism is not one that Tidegate has towards nodes, or its user, password or database are not as it needs them.
    pub fn credential(&self) -> Result<Option<Credential>, Vec<UriError>> {
        let mechanism = match self.options.text(MECHANISM).map(mechanism).transpose() {
            Ok(mechanism) => mechanism,
            Err(error) => return Err(vec![error]),
        };
        let mut errors = Vec::new();
        if self.options.get(PROPERTIES).is_some() {
            let why = "Tidegate logs in to nodes by mechanisms that have none; take it out";
            errors.push(unsupported(PROPERTIES, why));
        }
        let credential = match mechanism {
            None if self.user.is_none() => None,
            Some(Mechanism::X509) => self.certificate(&mut errors),
            _ => self.password(mechanism, &mut errors),
        };
        if errors.is_empty() {
            Ok(credential)
        } else {
            Err(errors)
        }
    }

    fn certificate(&self, errors: &mut Vec<UriError>) -> Option<Credential> {
        if self
            .options
            .text("authSource")
            .is_some_and(|source| source != EXTERNAL)
        {
            errors.push(UriError::Value {
                option: "authSource",
                right: "$external for MONGODB-X509, or not given",
            });
        }
        let user = self.user.as_ref();
        if user.is_some_and(|user| user.password.is_some()) {
            errors.push(unsupported(
                MECHANISM,
                "MONGODB-X509 takes no password; take it out of the uri",
            ));
        }
        let name = user.map_or("", |user| user.username.expose());
        Some(Credential {
            user: UserName::new(EXTERNAL, name),
            mechanism: Some(Mechanism::X509),
            password: None,
        })
    }

    fn password(&self, mechanism: Option<Mechanism>, errors: &mut Vec<UriError>) -> Option<Credential> {
        let Some(user) = &self.user else {
            errors.push(UriError::NoUser);
            return None;
        };
        let Some(password) = &user.password else {
            errors.push(UriError::NoPassword);
            return None;
        };
        let fallback = match mechanism {
            Some(Mechanism::Plain) => EXTERNAL,
            _ => "admin",
        };
        let source = self.options.text("authSource").or(self.database.as_deref());
        Some(Credential {
            user: UserName::new(source.unwrap_or(fallback), user.username.expose()),
            mechanism,
            password: Some(password.clone()),
        })
    }

    /// What a credential needs beside itself to be used.
    pub(super) fn judge_credential(&self, credential: &Credential, errors: &mut Vec<UriError>) {
        let has_tls = self.options.boolean("tls") == Some(true);
        match credential.mechanism {
            Some(Mechanism::Plain) if !has_tls => {
                let why = "PLAIN sends the password as it is, so that it needs tls=true";
                errors.push(unsupported(MECHANISM, why));
            }
            Some(Mechanism::X509) if !has_tls || self.options.text("tlsCertificateKeyFile").is_none() => {
                let why =
                    "MONGODB-X509 shows a certificate, so that it needs tls=true and tlsCertificateKeyFile";
                errors.push(unsupported(MECHANISM, why));
            }
            _ => {}
        }
    }
}

fn mechanism(name: &str) -> Result<Mechanism, UriError> {
    let why = match name {
        "GSSAPI" => "Kerberos is not supported towards nodes; make a user with a password for Tidegate",
        "MONGODB-AWS" => {
            "AWS's identities are not supported towards nodes; make a user with a password for Tidegate"
        }
        "MONGODB-OIDC" => "OIDC is not supported towards nodes; make a user with a password for Tidegate",
        "MONGODB-CR" => "servers have it no more since 4.0; take it out, so that one of SCRAM is agreed on",
        _ => "",
    };
    match Mechanism::from_name(name) {
        Some(mechanism) if why.is_empty() => Ok(mechanism),
        _ if !why.is_empty() => Err(unsupported(MECHANISM, why)),
        _ => Err(UriError::Value {
            option: MECHANISM,
            right: "SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509 or PLAIN",
        }),
    }
}

fn unsupported(option: &'static str, why: &'static str) -> UriError {
    UriError::Unsupported { option, why }
}

#[cfg(test)]
mod tests {
    use super::{super::parse, *};

    fn credential(uri: &str) -> Result<Option<Credential>, String> {
        let found = parse(uri).unwrap().credential();
        found.map_err(|errors| {
            errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        })
    }

    #[test]
    fn the_users_database_is_the_option_else_the_path_else_the_mechanisms_own() {
        for (uri, user, mechanism) in [
            ("mongodb://ann:pw@a", "ann@admin", None),
            ("mongodb://ann:pw@a/shop", "ann@shop", None),
            ("mongodb://ann:pw@a/shop?authSource=people", "ann@people", None),
            (
                "mongodb://ann:pw@a/?authMechanism=SCRAM-SHA-1",
                "ann@admin",
                Some(Mechanism::ScramSha1),
            ),
            (
                "mongodb://ann:pw@a/?authMechanism=PLAIN",
                "ann@$external",
                Some(Mechanism::Plain),
            ),
            (
                "mongodb://a/shop?authMechanism=MONGODB-X509",
                "@$external",
                Some(Mechanism::X509),
            ),
        ] {
            let found = credential(uri).unwrap().unwrap();
            assert_eq!(
                (found.user.to_string().as_str(), found.mechanism),
                (user, mechanism),
                "{uri}"
            );
            assert_eq!(found.login().user(), &found.user);
            assert_eq!(found.login().mechanism(), mechanism);
            assert!(!format!("{found:?}").contains("ann"));
        }
        assert_eq!(credential("mongodb://a/shop?authSource=people"), Ok(None));
    }

    #[test]
    fn what_cannot_be_a_login_says_why() {
        for (uri, says) in [
            ("mongodb://ann@a", "a password is missing"),
            (
                "mongodb://a/?authMechanism=SCRAM-SHA-256",
                "a user name is missing",
            ),
            ("mongodb://a/?authMechanism=PLAIN", "a user name is missing"),
            (
                "mongodb://ann:pw@a/?authMechanism=GSSAPI",
                "Kerberos is not supported",
            ),
            ("mongodb://a/?authMechanism=MONGODB-AWS", "AWS"),
            ("mongodb://a/?authMechanism=MONGODB-OIDC", "OIDC"),
            (
                "mongodb://ann:pw@a/?authMechanism=MONGODB-CR",
                "no more since 4.0",
            ),
            (
                "mongodb://ann:pw@a/?authMechanism=scram-sha-1",
                "must be SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509 or PLAIN",
            ),
            (
                "mongodb://ann:pw@a/?authMechanism=MONGODB-X509",
                "takes no password",
            ),
            (
                "mongodb://ann@a/?authMechanism=MONGODB-X509&authSource=admin",
                "authSource: must be $external",
            ),
            (
                "mongodb://ann:pw@a/?authMechanismProperties=SERVICE_NAME:x",
                "authMechanismProperties: ",
            ),
        ] {
            let errors = credential(uri).unwrap_err();
            assert!(errors.contains(says), "{uri}: {errors}");
            assert_eq!(errors.lines().count(), 1, "{errors}");
        }
    }

    #[test]
    fn what_needs_tls_is_refused_without_it() {
        for (uri, says) in [
            ("mongodb://ann:pw@a/?authMechanism=PLAIN", "needs tls=true"),
            ("mongodb://a/?authMechanism=MONGODB-X509", "tlsCertificateKeyFile"),
        ] {
            let errors = parse(uri).unwrap().supported().unwrap_err();
            assert!(errors[0].to_string().contains(says), "{errors:?}");
        }
    }
}
