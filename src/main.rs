//! The `tidegate` program: the exit code, and the only place that prints a final error.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::cli::main()
}
