//! MongoDB wire protocol messages: bytes to messages and back, without IO.
