//! What to do after a failure.
