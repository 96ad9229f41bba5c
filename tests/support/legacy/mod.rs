//! The exercise that old drivers do, directly on MongoDB 4.2 and through the proxy on the current one, and its comparison.
//!
//! A program below `tests/clients/legacy` takes an address, a database and, if the driver is to take the address for a member
//! of a replica set, the set's name. It prints one JSON line for each step, `{"step", "outcome"}` or
//! `{"step", "error", "message"}`, where `error` is the server's code as this driver tells it. Steps have the same names and
//! mean the same in all programs, as far as a driver has them. The messages are not compared.

mod commands;
mod compare;
mod differences;
mod drivers;
mod programs;
mod sides;

pub(crate) use commands::{python2_interpreter, python2_with};
pub(crate) use compare::{Comparison, Step, compare};
pub(crate) use drivers::{DRIVERS, Driver};
pub(crate) use sides::{Side, Sides, outcomes};
