//! Parses the arguments, calls the command, and ends with its exit code.

use std::process::ExitCode;

use stockade::cli;

fn main() -> ExitCode {
    ExitCode::from(cli::parse(std::env::args_os()).map_or_else(|exit| exit, cli::run).code())
}
