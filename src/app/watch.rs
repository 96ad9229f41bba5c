//! The files of the configuration while the proxy runs: looked at again and again, to be read when they have changed.
//!
//! A file counts as changed when its content is another one. It is read only if it looks different from outside, and looks the same twice in
//! a row: so one that is just being written is left until it is whole. Links are followed at each look, as a mounted ConfigMap is
//! exchanged by one.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// How a file looks from outside; `None` if it is not there.
type Stamp = Option<[u64; 6]>;

/// The files, as they were when they were read last.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    stamps: Vec<Stamp>,
    digests: Vec<String>,
    /// They look different, and may not be whole yet.
    is_unsettled: bool,
}

impl Watch {
    /// Takes note of how these files are now. To be called before they are read: so a change meanwhile is seen as one. Blocks for as long as
    /// reading takes.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        Self {
            stamps: files.iter().map(|file| stamp(file)).collect(),
            digests: files.iter().map(|file| digest(file)).collect(),
            files,
            is_unsettled: false,
        }
    }

    /// The files.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The digest of a file's content as it was noted, in hexadecimal.
    pub(super) fn digest_of(&self, file: &Path) -> Option<&str> {
        let found = self.files.iter().position(|other| other == file)?;
        self.digests.get(found).map(String::as_str)
    }

    /// Whether the content of any has changed. Blocks for as long as reading takes.
    pub(super) fn look(&mut self) -> bool {
        let stamps: Vec<_> = self.files.iter().map(|file| stamp(file)).collect();
        if stamps != self.stamps {
            self.stamps = stamps;
            self.is_unsettled = true;
            return false;
        }
        if !std::mem::take(&mut self.is_unsettled) {
            return false;
        }
        let digests: Vec<_> = self.files.iter().map(|file| digest(file)).collect();
        digests != self.digests
    }
}

fn stamp(file: &Path) -> Stamp {
    let data = fs::metadata(file).ok()?;
    Some([
        data.dev(),
        data.ino(),
        data.size(),
        data.mtime() as u64,
        data.mtime_nsec() as u64,
        data.ctime_nsec() as u64 ^ data.ctime() as u64,
    ])
}

/// Nothing for a file that cannot be read.
fn digest(file: &Path) -> String {
    let Ok(content) = fs::read(file) else {
        return String::new();
    };
    let digest = Sha256::digest(content);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_change_counts_once_it_is_whole_and_only_if_the_content_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.toml");
        fs::write(&file, "one").unwrap();
        let mut watch = Watch::new(vec![file.clone()]);
        assert_eq!(
            watch.digest_of(&file).unwrap(),
            "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
        );
        assert!(!watch.look() && !watch.look());
        fs::write(&file, "one and a half").unwrap();
        assert!(!watch.look(), "it may be half written");
        fs::write(&file, "two").unwrap();
        assert!(!watch.look(), "it was");
        assert!(watch.look() && !watch.look(), "told once");
        let mut watch = Watch::new(vec![file.clone()]);
        fs::write(folder.path().join("copy"), "two").unwrap();
        fs::rename(folder.path().join("copy"), &file).unwrap();
        assert!(!watch.look() && !watch.look(), "touched, not changed");
        fs::remove_file(&file).unwrap();
        assert!(!watch.look() && watch.look(), "gone");
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change_as_in_a_mounted_config_map() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("proxy.toml"), version).unwrap();
        }
        symlink("v1", path("..data")).unwrap();
        symlink("..data/proxy.toml", path("proxy.toml")).unwrap();
        let mut watch = Watch::new(vec![path("proxy.toml")]);
        symlink("v2", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        assert!(!watch.look() && watch.look());
    }
}
