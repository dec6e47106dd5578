//! Python: componentize-py, found in the project's virtual environment, the active one or on the PATH.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::contract::Contract;
use super::{Built, Draft, tools};
use crate::cli::project::{CONTRACT, LEFTOVERS};

/// What is installed where nothing was found.
const VERSION: &str = "0.25.1";

/// Where the modules go that the code imports, for editors: the component gets its own.
const BINDINGS: &str = "bindings";

/// Builds a project; `None` if componentize-py refused.
pub(super) fn build(project: &Path) -> anyhow::Result<Option<Vec<Built>>> {
    let contract = Contract::read(project)?;
    let tool = Tool::find(project)?;
    let draft = Draft::new(project)?;
    let bindings = draft.beside(BINDINGS);
    let mut generate = tool.command(project, &contract);
    generate.arg("bindings").arg(&bindings);
    let mut componentize = tool.command(project, &contract);
    componentize.args(["componentize", "agent", "--python-path", "src", "--output"]).arg(draft.path());
    for command in [generate, componentize] {
        let done = tools::run(command);
        if !done.with_context(|| format!("cannot start `{}`", tool.program.display()))? {
            return Ok(None);
        }
    }
    let place = project.join(LEFTOVERS).join(BINDINGS);
    // It may not be there yet; if it cannot go, the rename says so.
    let _ = std::fs::remove_dir_all(&place);
    std::fs::rename(&bindings, &place).with_context(|| format!("cannot write {}", place.display()))?;
    Ok(Some(vec![draft.publish()?]))
}

/// componentize-py, and the virtual environment that it was found in.
struct Tool {
    program: PathBuf,
    environment: Option<PathBuf>,
}

impl Tool {
    fn command(&self, project: &Path, contract: &Contract) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--quiet")
            .args(["--wit-path", CONTRACT, "--world", contract.world_name()])
            .current_dir(project)
            // The author's own traceback is what counts, not where in the tool it came up.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null());
        if let Some(environment) = &self.environment {
            // Packages that are installed there can be imported.
            command.env("VIRTUAL_ENV", environment);
        }
        command
    }

    fn find(project: &Path) -> anyhow::Result<Self> {
        for environment in tools::virtual_environments(project) {
            let program = environment.join("bin/componentize-py");
            if program.is_file() {
                return Ok(Self { program, environment: Some(environment) });
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
        Ok(Self { program, environment: None })
    }
}
