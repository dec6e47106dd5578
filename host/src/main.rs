//! Parses the arguments, calls the command, and ends with its exit code.

use std::process::ExitCode;

use clap::Parser;
use stockade::cli::{self, Cli, Exit};

fn main() -> ExitCode {
    let exit = cli::run(Cli::parse()).unwrap_or_else(|error| {
        // Nothing is left to tell it to if standard error is gone.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("error: {error:#}\n"));
        Exit::Failed
    });
    ExitCode::from(exit.code())
}
