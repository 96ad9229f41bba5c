//! Reading, and sending, in batches.
//!
//! When many commands are under way on a core, each wake-up of the runtime brings many messages. A command that is sent as soon as it was
//! read wakes its node, or its client, for this one message; a peer that finds several at once sleeps less often, and the kernel
//! wakes it less often. So a command that has been read lets the others of its core be read, before it goes on; and a reply does the same. It
//! costs one more turn of the task, and no time when nothing else is to be read.

use std::cell::Cell;

/// With so few commands under way nothing is gained.
const FEW: usize = 4;

thread_local! {
    /// Commands under way on this thread, which is a core's.
    static UNDER_WAY: Cell<usize> = const { Cell::new(0) };
}

/// A command that is under way; until dropped.
#[derive(Debug)]
pub(super) struct UnderWay(());

impl UnderWay {
    /// Counts one more.
    pub(super) fn begin() -> Self {
        UNDER_WAY.set(UNDER_WAY.get() + 1);
        Self(())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // Saturating: a session that is dropped with its runtime may be so on another thread.
        UNDER_WAY.set(UNDER_WAY.get().saturating_sub(1));
    }
}

/// Lets the other commands of this core come as far as this one, if there are enough of them. Cancel safe.
pub(super) async fn gather() {
    if UNDER_WAY.get() > FEW {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::poll_fn, pin::pin, rc::Rc, task::Poll};

    use tokio::task::LocalSet;

    use super::*;

    /// Whether a command goes on at once.
    async fn goes_on() -> bool {
        let mut gathers = pin!(gather());
        poll_fn(|cx| Poll::Ready(gathers.as_mut().poll(cx).is_ready())).await
    }

    #[tokio::test]
    async fn commands_wait_for_others_only_while_there_are_many() {
        let mut under_way: Vec<_> = (0..FEW).map(|_| UnderWay::begin()).collect();
        assert!(goes_on().await, "few");
        under_way.push(UnderWay::begin());
        assert!(!goes_on().await, "many");
        under_way.pop();
        assert!(goes_on().await, "few again");
    }

    #[tokio::test]
    async fn all_are_read_before_the_first_goes_on() {
        let others: Vec<_> = (0..FEW).map(|_| UnderWay::begin()).collect();
        let order = Rc::new(RefCell::new(Vec::new()));
        let commands = LocalSet::new();
        for _ in 0..3 {
            let order = Rc::clone(&order);
            commands.spawn_local(async move {
                let _under_way = UnderWay::begin();
                order.borrow_mut().push("read");
                gather().await;
                order.borrow_mut().push("sent");
            });
        }
        commands.await;
        drop(others);
        assert_eq!(*order.borrow(), ["read", "read", "read", "sent", "sent", "sent"]);
    }
}
