//! What a message means: which command, what routing needs from it, what its reply says.
