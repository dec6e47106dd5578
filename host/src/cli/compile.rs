//! `stockade compile-component`: what `serve` starts for each component that it has to compile.
//! Not for people: it reads a component, writes compiled code, and bounds itself before it does.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use clap::Args;

use super::Exit;
use crate::app::{self, CompileRefusal};

/// Arguments of `stockade compile-component`.
#[derive(Debug, Args)]
pub(super) struct CompileArgs {
    /// What the host allows, as JSON
    order: String,
}

/// Runs it. No logging and no threads of ours: its start is part of every reload.
pub(super) fn run(args: &CompileArgs) -> Exit {
    let output = std::io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let output = output.map_err(|error| CompileRefusal::Broken(format!("no standard output: {error}")));
    match output.and_then(|output| app::compile_here(&args.order, std::io::stdin().lock(), output)) {
        Ok(()) => Exit::Done,
        Err(refusal) => {
            // Without standard error, the exit code is all that can be reported.
            let mut err = std::io::stderr().lock();
            let _ = serde_json::to_writer(&mut err, &refusal);
            let _ = writeln!(err);
            Exit::Failed
        }
    }
}
