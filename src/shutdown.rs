//! Cancellation and task tracking.
