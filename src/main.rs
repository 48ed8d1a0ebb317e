use std::process::ExitCode;

fn main() -> ExitCode {
    auditferry::cli::run(std::env::args_os())
}
