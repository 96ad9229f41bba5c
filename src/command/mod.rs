//! What a message means: which command it is, what routing needs from it, what its reply says.
//!
//! Pure: bytes in, facts out. The only place where protocol errors are built is [`error_reply`].

pub mod comment;
pub mod commit;
pub mod config_shards;
pub mod error_reply;
pub mod fail_command;
pub mod legacy;
pub mod number;
pub mod old;
pub mod policy;
#[cfg(test)]
mod policy_tests;
pub mod reply;
pub mod request;
pub mod retryable;
pub mod rewrite;
pub mod shape;
pub mod state_change;
pub mod table;

pub use error_reply::ErrorReply;
pub use old::Old;
pub use policy::{Denied, Policy};
pub use reply::Reply;
pub use request::Request;
pub use retryable::WriteShape;
pub use table::{
    Class, LastErrorCommand, Local, LoginCommand, Row, Sharding, Write, may_be_compressed, row_at,
};
