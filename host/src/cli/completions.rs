//! `stockade completions SHELL`: prints a script that completes commands and options in a shell.
//!
//! Agents' ids are not completed: that would ask a host at each key press.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use super::output::Output;
use super::{Cli, Exit, Global};

/// The program's name, by which a shell knows it.
const PROGRAM: &str = "stockade";

/// Arguments of `stockade completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell to print the script for
    shell: Shell,
}

/// Runs it.
pub(super) fn run(global: &Global, args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), PROGRAM, &mut script);
    match global.output() {
        Output::Json => {
            let script = String::from_utf8_lossy(&script);
            global.output().json(&json!({ "shell": args.shell.to_string(), "script": script }))?;
        }
        // As it is: it is no text of anybody else's, and a shell reads it.
        Output::Text => std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?,
    }
    Ok(Exit::Done)
}
