//! What the tests fetch, install and compile for themselves besides cargo's dependencies.
//!
//! Run alone and first, this test does all of it side by side, so that what the others take afterwards is their own time. Run among
//! them, it only waits for the same locks.

use std::{path::Path, thread};

use crate::{
    across_pymongo, chart,
    support::{
        go_client, legacy::DRIVERS, mongosh, node_modules, old_mongod, python, rust_client, shared_set,
    },
};

#[test]
fn everything_that_the_tests_fetch_or_build_is_to_be_had() {
    let steps: &[fn()] = &[
        || {
            shared_set();
        },
        || is_there(old_mongod()),
        || is_there(python()),
        || is_there(chart::python()),
        || is_there(&across_pymongo::python()),
        || is_there(across_pymongo::sources()),
        || is_there(mongosh()),
        || is_there(node_modules()),
        || is_there(go_client()),
        || is_there(rust_client()),
        old_drivers,
    ];
    thread::scope(|scope| {
        for step in steps {
            scope.spawn(step);
        }
    });
}

fn is_there(path: &Path) {
    assert!(path.exists(), "{}", path.display());
}

fn old_drivers() {
    for driver in DRIVERS.iter().filter(|driver| driver.tested) {
        driver
            .command()
            .unwrap_or_else(|missing| panic!("{}: missing: {missing}", driver.name));
    }
}
