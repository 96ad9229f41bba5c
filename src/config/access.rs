//! Who may do what, and where that is written down.

use std::path::Path;

use super::{
    mistake::Report,
    resolve::section,
    schema,
    tree::{Table, Value},
};
use crate::audit;

/// `[audit]`: where the audit log goes, if there is one.
pub(super) fn audit_section(root: &mut Table, folder: &Path, report: &mut Report) -> Option<audit::Target> {
    let mut section = section(root, "audit", report);
    let target = section.read(
        "file",
        "a path such as \"/var/log/tidegate/audit.json\", \"stdout\", \"stderr\" or \"off\"",
        |node| {
            let Value::Text(text) = &node.value else {
                return None;
            };
            Some(Ok(match text.as_str() {
                "off" => None,
                "stdout" => Some(audit::Target::Stdout),
                "stderr" => Some(audit::Target::Stderr),
                "" => return Some(Err("is empty; write \"off\" for no audit log".to_owned())),
                // In the file a relative path counts from that file, in a variable from the working directory.
                path if node.place.is_untyped() => Some(audit::Target::File(path.into())),
                path => Some(audit::Target::File(folder.join(path))),
            }))
        },
    );
    section.finish(|name| schema::unknown(schema::section("audit"), name));
    target.flatten()
}
