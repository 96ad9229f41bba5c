//! Secrets kept in files of their own, as container platforms mount them.

use std::{fs::File, io::Read, path::Path};

/// No secret is longer; a wrong path, to a device say, is not read without end.
const LONGEST: u64 = 64 * 1024;

/// Reads a secret, without the white space around it. The error names the file and never holds the content.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if text.len() as u64 > LONGEST {
        return Err(format!("{} is longer than {LONGEST} bytes", path.display()));
    }
    match text.trim() {
        "" => Err(format!("{} is empty", path.display())),
        secret => Ok(secret.to_owned()),
    }
}
