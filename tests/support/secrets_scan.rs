//! Looks for secrets where none may be: in texts (logs, pages, files) and in the memory of a process.
//!
//! A secret is looked for as it is, in base64 and in hexadecimal digits. Reading another process's memory needs root where that process
//! is not dumpable, as a proxy is.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

use super::{Proxy, http_get};

/// How much memory is read at a time.
const CHUNK: usize = 1 << 20;
/// Shorter ones would be found by chance.
const SHORTEST: usize = 8;

/// What must not be found, by name.
#[derive(Clone, Default)]
pub(crate) struct SecretsScan {
    needles: Vec<(String, Vec<u8>)>,
    longest: usize,
}

impl SecretsScan {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Looks for `secret`, too, and calls it `name`: it is never shown itself.
    pub(crate) fn forbid(mut self, name: &str, secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        assert!(secret.len() >= SHORTEST, "{name} is too short to be looked for");
        self.add(name.to_owned(), secret.to_vec());
        self.add(format!("{name} (base64)"), base64(secret));
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        self.add(format!("{name} (hex)"), hex.to_uppercase().into_bytes());
        self.add(format!("{name} (hex)"), hex.into_bytes());
        self
    }

    fn add(&mut self, name: String, needle: Vec<u8>) {
        self.longest = self.longest.max(needle.len());
        self.needles.push((name, needle));
    }

    /// The secrets in `text`, each once, as `NAME in WHERE`.
    pub(crate) fn in_text(&self, place: &str, text: impl AsRef<[u8]>) -> BTreeSet<String> {
        let text = text.as_ref();
        let found = self.needles.iter().filter(|(_, needle)| holds(text, needle));
        found.map(|(name, _)| format!("{name} in {place}")).collect()
    }

    /// The secrets in all that a proxy shows: its log, `/metrics` and `/status`.
    pub(crate) fn in_output(&self, proxy: &Proxy) -> BTreeSet<String> {
        let mut found = self.in_text("the log", proxy.log());
        for page in ["/metrics", "/status", "/readyz", "/"] {
            let (_, body) = http_get(proxy.admin, page).unwrap();
            assert!(!body.is_empty(), "{page} shows nothing");
            found.extend(self.in_text(page, body));
        }
        found
    }

    /// The secrets in the memory that a process can write to: heap, stacks, data. What it only reads is its files, which hold none.
    ///
    /// # Errors
    /// When it has ended, or its memory may not be read: that takes root where it is not dumpable.
    pub(crate) fn in_memory(&self, pid: u32) -> io::Result<BTreeSet<String>> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let (mut found, mut read) = (BTreeSet::new(), 0);
        for line in maps.lines() {
            let Some((from, to, label)) = writable(line) else {
                continue;
            };
            read += self.in_region(&memory, from, to, label, &mut found);
        }
        // All of a process's memory being out of reach would look like a clean one.
        if read == 0 {
            return Err(io::Error::other(format!(
                "nothing of the memory of {pid} could be read"
            )));
        }
        Ok(found)
    }

    /// Scans one region; says how many bytes of it could be read.
    fn in_region(
        &self,
        memory: &File,
        from: u64,
        to: u64,
        label: &str,
        found: &mut BTreeSet<String>,
    ) -> usize {
        let overlap = self.longest.saturating_sub(1);
        let mut buffer = vec![0; CHUNK + overlap];
        let (mut at, mut kept, mut total) = (from, 0, 0);
        while at < to {
            let wanted = CHUNK.min(usize::try_from(to - at).unwrap());
            // A page that is gone or cannot be read ends the region: it changes while it is read.
            let Ok(count @ 1..) = memory.read_at(&mut buffer[kept..kept + wanted], at) else {
                break;
            };
            let text = &buffer[..kept + count];
            found.extend(self.in_text(&format!("memory {label}"), text));
            (at, total) = (at + count as u64, total + count);
            let end = kept + count;
            kept = overlap.min(end);
            buffer.copy_within(end - kept..end, 0);
        }
        total
    }
}

/// The bounds of a mapping that can be read and written, and what it is, from a line of `/proc/PID/maps` (proc_pid_maps(5)).
fn writable(line: &str) -> Option<(u64, u64, &str)> {
    let mut fields = line.split_ascii_whitespace();
    let (from, to) = fields.next()?.split_once('-')?;
    let label = fields.clone().nth(4).unwrap_or("anonymous");
    let may = fields.next()?.starts_with("rw");
    let bound = |text| u64::from_str_radix(text, 16).ok();
    Some((bound(from)?, bound(to)?, label)).filter(|_| may)
}

fn holds(text: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[at..];
        if rest.len() < needle.len() {
            return false;
        }
        if rest.starts_with(needle) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

/// RFC 4648, without the padding and what depends on it, so that it is found within longer texts, too.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let whole = bytes.chunks_exact(3);
    whole
        .flat_map(|three| {
            let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
            [18, 12, 6, 0].map(|shift| LETTERS[(bits >> shift & 63) as usize])
        })
        .collect()
}
