//! From users, identities and subjects to TOML that reads as the same.

use std::fmt::{self, Display, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::{UsersFile, Verifier};

const HEAD: &str = "\
# The users of Tidegate. What stands here is as good as a login: keep the mode at 0600.
# `tidegate user import` writes this file anew; comments are not kept.
";

impl UsersFile {
    /// The file's text, secrets included: for the file alone.
    #[must_use]
    pub fn to_toml(&self) -> Zeroizing<String> {
        Zeroizing::new(Text(self).to_string())
    }
}

struct Text<'a>(&'a UsersFile);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(file) = self;
        f.write_str(HEAD)?;
        for (user, entry) in &file.users {
            f.write_str("\n[[user]]\n")?;
            pair(f, "name", &user.name)?;
            pair(f, "db", &user.db)?;
            if let Some(act_as) = &entry.act_as {
                pair(f, "act_as", act_as)?;
            }
            if let Some(digest) = &entry.mongodb_cr {
                pair(f, "mongodb_cr", digest)?;
            }
            for (name, verifier) in [
                ("scram-sha-1", &entry.scram_sha_1),
                ("scram-sha-256", &entry.scram_sha_256),
            ] {
                if let Some(verifier) = verifier {
                    writeln!(f, "[user.{name}]")?;
                    parts(f, verifier)?;
                }
            }
        }
        for (name, identity) in &file.identities {
            f.write_str("\n[[identity]]\n")?;
            pair(f, "name", name)?;
            pair(f, "user", &identity.user.name)?;
            pair(f, "auth_source", &identity.user.db)?;
            if let Some(mechanism) = identity.mechanism {
                pair(f, "mechanism", mechanism.name())?;
            }
            pair(f, "password_file", &identity.password_file.to_string_lossy())?;
        }
        for (name, act_as) in &file.subjects {
            f.write_str("\n[[subject]]\n")?;
            pair(f, "name", name)?;
            pair(f, "act_as", act_as)?;
        }
        Ok(())
    }
}

fn pair(f: &mut fmt::Formatter<'_>, key: &str, value: &str) -> fmt::Result {
    write!(f, "{key} = \"")?;
    // A basic string of TOML.
    for sign in value.chars() {
        match sign {
            '"' | '\\' => write!(f, "\\{sign}")?,
            sign if sign.is_control() => write!(f, "\\u{:04X}", u32::from(sign))?,
            sign => f.write_char(sign)?,
        }
    }
    f.write_str("\"\n")
}

fn parts(f: &mut fmt::Formatter<'_>, verifier: &Verifier) -> fmt::Result {
    writeln!(f, "iterations = {}", verifier.iterations())?;
    for (key, bytes) in [
        ("salt", verifier.salt()),
        ("stored_key", verifier.stored_key().expose()),
        ("server_key", verifier.server_key().expose()),
    ] {
        pair(f, key, &BASE64_STANDARD.encode(bytes))?;
    }
    Ok(())
}
