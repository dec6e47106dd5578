//! Finding and running the tools of other languages.
//!
//! Their output goes to standard error as it is: standard output is for results.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::project;

/// Runs a tool; whether it succeeded.
pub(super) fn run(mut command: Command) -> io::Result<bool> {
    command.stdout(io::stderr());
    Ok(command.status()?.success())
}

/// Whether a command can be started and succeeds; what it says is not shown.
pub(super) fn works(mut command: Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A program of this name on the PATH.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The Python environments that tools of a project may be installed in: its own, then the active one.
pub(super) fn virtual_environments(project: &Path) -> Vec<PathBuf> {
    let own = [".venv", "venv"].map(|name| project.join(name));
    let active = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
    let all = own.into_iter().chain(active);
    all.filter(|folder| folder.is_dir()).filter_map(|folder| std::path::absolute(folder).ok()).collect()
}

/// What goes before a command that is typed in the project's folder.
pub(super) fn in_folder(folder: &Path) -> String {
    if folder == Path::new(".") { String::new() } else { format!("cd {} && ", project::typed(folder)) }
}
