//! The program's entry point. `cli` runs the command and chooses the exit code.

use std::process::ExitCode;

use auditferry::cli;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
