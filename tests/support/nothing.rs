//! A cluster's nodes without anything beside them.

use std::sync::Arc;

use tidegate::upstream::NodeResource;

/// What lives beside the nodes of a cluster that is only looked at.
#[derive(Debug)]
pub(crate) struct Nothing;

impl NodeResource for Nothing {
    fn ready(&self) {}

    fn failed(&self, _: &str, _: bool) {}

    fn superseded(&self, _: bool) {}

    fn retired(self: Arc<Self>) {}

    fn load(&self) -> usize {
        0
    }

    fn generation(&self) -> u64 {
        0
    }
}
