//! JavaScript: componentize-js, from the project's own `node_modules`.
//!
//! Runs `npm install` where that has not been done, and says so.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::contract::Contract;
use super::{Built, Draft, tools};
use crate::cli::output;

/// What makes components, and the version that is installed where package.json names none.
const PACKAGE: &str = "@bytecodealliance/componentize-js";
const VERSION: &str = "0.23.0";
/// What node runs.
const SCRIPT: &str = include_str!("javascript.mjs");

/// Builds a project; `None` if the compiler refused.
pub(super) fn build(project: &Path) -> anyhow::Result<Option<Vec<Built>>> {
    let contract = Contract::read(project)?;
    if !tools::works(node(project, &["--eval", "process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)"]))
    {
        bail!(
            "Node.js 20 or newer, which makes components of JavaScript, is not on the PATH; install it \
             (`apt-get install nodejs npm`, or https://nodejs.org)"
        );
    }
    install(project)?;
    let draft = Draft::new(project)?;
    let mut command = node(project, &["--input-type=module", "-", contract.world_name()]);
    command.arg(draft.path());
    // Each feature imports what it stands on, so an agent without `wasi:http` goes without it.
    command.arg("fetch-event");
    if !contract.imports().any(|(package, _)| package.namespace == "wasi" && package.name == "http") {
        command.arg("http");
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(std::io::stderr()).spawn().context("cannot start `node`")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(SCRIPT.as_bytes())?;
    }
    if child.wait()?.success() { Ok(Some(vec![draft.publish()?])) } else { Ok(None) }
}

fn node(project: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.args(arguments).current_dir(project);
    command
}

/// Installs what package.json asks for, unless it is there.
fn install(project: &Path) -> anyhow::Result<()> {
    let find = format!("import.meta.resolve('{PACKAGE}')");
    let there = || tools::works(node(project, &["--input-type=module", "--eval", &find]));
    if there() {
        return Ok(());
    }
    if tools::on_path("npm").is_none() {
        bail!(
            "{PACKAGE} is missing in the project's node_modules, and so is `npm`, which installs it; run\n  apt-get install npm; {}npm install",
            tools::in_folder(project)
        );
    }
    output::note(&format!("installing what package.json asks for (npm install in {})", project.display()));
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund"]).current_dir(project).stdin(Stdio::null());
    if !tools::run(npm).context("cannot start `npm`")? {
        bail!("`npm install` failed in {}; its output is above", project.display());
    }
    if !there() {
        bail!(
            "package.json does not ask for {PACKAGE}, which makes components; run\n  {}npm install --save-dev {PACKAGE}@{VERSION}",
            tools::in_folder(project)
        );
    }
    Ok(())
}
