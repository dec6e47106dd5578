//! Rust: cargo builds for `wasm32-wasip2`, which gives components as they are.
//!
//! Installs the target where it is missing; the rest is cargo's, and so is its output.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::Built;
use crate::cli::output::{self, Output};

/// The target that plugins are built for.
const TARGET: &str = "wasm32-wasip2";

/// Builds a package, or a workspace of them; `None` if the compiler refused.
pub(super) fn build(project: &Path, output: Output) -> anyhow::Result<Option<Vec<Built>>> {
    ensure_target(project)?;
    let mut command = Command::new("cargo");
    command
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(project)
        // A plugin's build is its own: what was set for the host's does not belong there.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if output == Output::Json {
        command.arg("--quiet");
    }
    let mut cargo =
        command.spawn().context("cannot start `cargo`; install Rust with rustup (https://rustup.rs)")?;
    let mut built = Vec::new();
    if let Some(messages) = cargo.stdout.take() {
        for line in BufReader::new(messages).lines() {
            // Lines that are not messages are the output of build scripts.
            let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
            for file in components(&message) {
                built.push(Built::of(file)?);
            }
        }
    }
    if !cargo.wait()?.success() {
        return Ok(None);
    }
    if built.is_empty() {
        bail!(
            "{} has no component: a plugin's Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`",
            project.display()
        );
    }
    Ok(Some(built))
}

/// The components that a message of cargo's names.
fn components(message: &Value) -> Vec<PathBuf> {
    let is_library = |kind: &Value| kind.as_str() == Some("cdylib");
    let kinds = message["target"]["kind"].as_array().map(Vec::as_slice).unwrap_or_default();
    if message["reason"] != "compiler-artifact" || !kinds.iter().any(is_library) {
        return Vec::new();
    }
    let files = message["filenames"].as_array().map(Vec::as_slice).unwrap_or_default();
    let files = files.iter().filter_map(Value::as_str).filter(|file| file.ends_with(".wasm"));
    files.map(PathBuf::from).collect()
}

/// Installs the target where it is missing, for the toolchain that `folder` uses.
fn ensure_target(folder: &Path) -> anyhow::Result<()> {
    let libraries = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .output()
        .context("cannot start `rustc`; install Rust with rustup (https://rustup.rs)")?;
    let path = String::from_utf8_lossy(&libraries.stdout).trim().to_owned();
    let std_library = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    };
    if std::fs::read_dir(path).is_ok_and(|mut entries| entries.any(std_library)) {
        return Ok(());
    }
    output::note(&format!("installing the target {TARGET} (rustup target add {TARGET})"));
    let added = Command::new("rustup").args(["target", "add", TARGET]).current_dir(folder).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => bail!("`rustup target add {TARGET}` failed; its output is above"),
        Err(error) => bail!(
            "the target {TARGET} is missing, and `rustup` could not be started ({error}); install the target the way Rust was installed"
        ),
    }
}
