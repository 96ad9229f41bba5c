//! A real local replica set, for the demo, the tests and the benches.
