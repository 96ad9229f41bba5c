//! Nodes that reads pass over for a while because the operator said so.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use crate::topology::Address;

/// Those nodes, each until when. While there are none, asking costs one relaxed load.
#[derive(Debug, Default)]
pub struct Avoided {
    is_any: AtomicBool,
    nodes: ArcSwap<Vec<(Address, Instant)>>,
    changing: Mutex<()>,
}

impl Avoided {
    /// Has reads pass over a node until then.
    pub fn set(&self, node: &Address, until: Instant) {
        self.change(|nodes| {
            nodes.retain(|(there, _)| there != node);
            nodes.push((node.clone(), until));
        });
    }

    /// Lets reads go to a node again; whether they did not.
    pub fn lift(&self, node: &Address) -> bool {
        let was = self.left(node).is_some();
        self.change(|nodes| nodes.retain(|(there, _)| there != node));
        was
    }

    /// Whether there may be any.
    #[inline]
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.is_any.load(Relaxed)
    }

    /// For how long a node is still passed over; `None` if it is not.
    #[must_use]
    pub fn left(&self, node: &Address) -> Option<Duration> {
        let nodes = self.nodes.load();
        let (_, until) = nodes.iter().find(|(there, _)| there == node)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // So that reads ask no more.
            self.change(|_| {});
            return None;
        }
        Some(left)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(Address, Instant)>)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut nodes = Vec::clone(&self.nodes.load());
        nodes.retain(|(_, until)| *until > now);
        change(&mut nodes);
        self.is_any.store(!nodes.is_empty(), Relaxed);
        self.nodes.store(Arc::new(nodes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_avoided_until_then_or_until_that_is_lifted() {
        let avoided = Avoided::default();
        let [a, b]: [Address; 2] = ["a:1", "b:1"].map(|node| node.parse().unwrap());
        assert!(!avoided.is_any() && !avoided.lift(&a));
        let now = Instant::now();
        avoided.set(&a, now + Duration::from_secs(50));
        avoided.set(&a, now + Duration::from_secs(99));
        assert!(avoided.left(&a).unwrap() > Duration::from_secs(60) && avoided.left(&b).is_none());
        assert!(avoided.is_any() && avoided.lift(&a));
        assert!(!avoided.is_any() && avoided.left(&a).is_none());
        avoided.set(&b, now);
        assert!(avoided.is_any());
        assert_eq!(avoided.left(&b), None, "its time is over");
        assert!(!avoided.is_any());
    }
}
