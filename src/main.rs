//! The program: arguments in, exit code out; what happens between is told in `cli`.

use std::process::ExitCode;

use auditferry::cli;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
