//! Reads the users file, and the password files that it names.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{LARGEST_FILE, secret};
use crate::auth::{UsersFile, scram::Secret};

/// What is wrong with a users file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", path.display(), problems.join("; "))]
pub struct UsersError {
    /// The file.
    pub path: PathBuf,
    /// Every mistake. None quotes a secret.
    pub problems: Vec<String>,
}

/// Reads a users file that nobody reads but whom its owner lets, with the passwords of its identities. A relative path of a password file
/// counts from the users file.
///
/// # Errors
/// Every mistake in it.
pub fn read_users(path: &Path) -> Result<UsersFile, UsersError> {
    let failed = |problems| UsersError {
        path: path.to_owned(),
        problems,
    };
    let text = private_text(path).map_err(|problem| failed(vec![problem]))?;
    let mut users: UsersFile = text
        .parse()
        .map_err(|errors: Vec<_>| failed(errors.iter().map(ToString::to_string).collect()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut problems = Vec::new();
    for (name, identity) in &mut users.identities {
        match secret::read(&folder.join(&identity.password_file)) {
            Ok(password) => identity.secret = Some(Secret::Password(password.into())),
            Err(problem) => problems.push(format!("identity {name}: password_file: {problem}")),
        }
    }
    if problems.is_empty() {
        Ok(users)
    } else {
        Err(failed(problems))
    }
}

/// Whether a file of that owner and mode is kept from others. What root owns may be readable by a group: so are secrets
/// mounted that a process without root's rights is to read, as Kubernetes
/// mounts them with `fsGroup`.
fn is_private(owner: u32, mode: u32) -> bool {
    let allowed = if owner == 0 { 0o740 } else { 0o700 };
    mode & 0o777 & !allowed == 0
}

/// The text of a file that is kept from others: what stands in it is as good as a login.
fn private_text(path: &Path) -> Result<zeroize::Zeroizing<String>, String> {
    let cannot = |error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if !is_private(metadata.uid(), metadata.mode()) {
        return Err(format!(
            "others than its owner can use it (mode {:04o}), and what stands in it is as good as a login: chmod 600",
            metadata.mode() & 0o777
        ));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    let read = file.take(LARGEST_FILE + 1).read_to_string(&mut text);
    if read.map_err(cannot)? as u64 > LARGEST_FILE {
        return Err("is too long".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    const IDENTITY: &str = "[[identity]]\nname = 'reports'\nuser = 'reporter'\npassword_file = 'password'\n";

    fn read(text: &str, mode: u32, password: Option<&str>) -> Result<UsersFile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if let Some(password) = password {
            fs::write(folder.path().join("password"), password).unwrap();
        }
        read_users(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn passwords_of_identities_come_from_files_of_their_own() {
        let users = read(IDENTITY, 0o600, Some("sesame\n")).unwrap();
        let expected = Secret::Password("sesame".to_owned().into());
        assert_eq!(users.identities["reports"].secret, Some(expected));
        let missing = read(IDENTITY, 0o600, None).unwrap_err();
        assert!(
            missing.contains("identity reports: password_file: cannot read"),
            "{missing}"
        );
    }

    #[test]
    fn a_group_may_read_what_root_owns_and_nothing_else() {
        for (owner, mode, private) in [
            (1000, 0o600, true),
            (1000, 0o400, true),
            (1000, 0o640, false),
            (1000, 0o440, false),
            (0, 0o100_440, true),
            (0, 0o640, true),
            (0, 0o660, false),
            (0, 0o444, false),
            (0, 0o441, false),
        ] {
            assert_eq!(is_private(owner, mode), private, "{owner} {mode:o}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o604, 0o620, 0o666] {
            let refused = read("", mode, None).unwrap_err();
            assert!(
                refused.contains(&format!("mode {mode:04o}")) && refused.contains("chmod 600"),
                "{refused}"
            );
        }
        assert!(read("", 0o400, None).is_ok());
    }

    #[test]
    fn every_mistake_is_told_with_the_file() {
        let told = read(
            "[[user]]\nname = 'a'\ndb = 'b'\n[[user]]\nname = 'c'\ndb = 'd'\n",
            0o600,
            None,
        )
        .unwrap_err();
        assert!(
            told.contains("users.toml: user a@b: has nothing") && told.contains("; user c@d: has"),
            "{told}"
        );
    }
}
