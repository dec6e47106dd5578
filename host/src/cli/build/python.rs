//! Python: componentize-py, found in the project's virtual environment, the active one or on the PATH.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::contract::Contract;
use super::{Built, Draft, tools};
use crate::cli::project::CONTRACT;

/// What is installed where nothing was found.
const VERSION: &str = "0.25.1";

/// Builds a project; `None` if componentize-py refused.
pub(super) fn build(project: &Path) -> anyhow::Result<Option<Vec<Built>>> {
    let contract = Contract::read(project)?;
    let (program, environment) = find(project)?;
    let draft = Draft::new(project)?;
    let mut command = Command::new(&program);
    command
        .arg("--quiet")
        .args(["--wit-path", CONTRACT, "--world", contract.world_name()])
        .args(["componentize", "agent", "--python-path", "src", "--output"])
        .arg(draft.path())
        .current_dir(project)
        // The author's own traceback is what counts, not where in the tool it came up.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    if let Some(environment) = environment {
        // Packages that are installed there can be imported.
        command.env("VIRTUAL_ENV", environment);
    }
    let done = tools::run(command).with_context(|| format!("cannot start `{}`", program.display()))?;
    if done { Ok(Some(vec![draft.publish()?])) } else { Ok(None) }
}

/// componentize-py, and the virtual environment that it was found in.
fn find(project: &Path) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
    for environment in tools::virtual_environments(project) {
        let program = environment.join("bin/componentize-py");
        if program.is_file() {
            return Ok((program, Some(environment)));
        }
    }
    let Some(program) = tools::on_path("componentize-py") else {
        let wanted = match project.join("requirements.txt").is_file() {
            true => "-r requirements.txt".to_owned(),
            false => format!("componentize-py=={VERSION}"),
        };
        bail!(
            "componentize-py, which makes components of Python, is not installed in the project's .venv, in the \
             active virtual environment or on the PATH; install it with\n  {}python3 -m venv .venv && .venv/bin/pip install {wanted}",
            tools::in_folder(project)
        );
    };
    Ok((program, None))
}
