//! Where a command goes.
