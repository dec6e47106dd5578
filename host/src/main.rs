//! Parses the arguments, calls the command, and ends with its exit code.

use std::process::ExitCode;

use clap::Parser;
use stockade::cli::{self, Cli, Exit};
use stockade::domain::text;

fn main() -> ExitCode {
    let exit = cli::run(Cli::parse()).unwrap_or_else(|error| {
        // Nothing is left to tell it to if standard error is gone.
        let text = format!("error: {error:#}");
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", text::set_in(&text)));
        Exit::Failed
    });
    ExitCode::from(exit.code())
}
