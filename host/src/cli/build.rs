//! `stockade build`: plugin projects to components.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::output::{self, Output};
use super::{Exit, Global};

/// The target that plugins are built for.
const TARGET: &str = "wasm32-wasip2";

/// Arguments of `stockade build`.
#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// The projects, or workspaces of them; without any, `plugins` beside the settings file
    path: Vec<PathBuf>,
}

/// A component that was built.
#[derive(Debug, Serialize)]
pub(super) struct Built {
    /// The file.
    component: PathBuf,
    /// Its size in bytes.
    bytes: u64,
}

/// Runs it.
pub(super) fn run(global: &Global, args: &BuildArgs) -> anyhow::Result<Exit> {
    let mut projects = args.path.clone();
    if projects.is_empty() {
        projects.push(beside(&global.config));
    }
    let Some(built) = build(&projects, global.output())? else { return Ok(Exit::Failed) };
    match global.output() {
        Output::Json => global.output().json(&built)?,
        Output::Text => {
            for Built { component, bytes } in &built {
                output::print(&format!("{} ({} KiB)", component.display(), bytes.div_ceil(1024)))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// The folder `plugins` beside a settings file.
pub(super) fn beside(config: &Path) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join("plugins")
}

/// Builds these projects; `None` if one did not build, which cargo has said on standard error.
pub(super) fn build(projects: &[PathBuf], output: Output) -> anyhow::Result<Option<Vec<Built>>> {
    for project in projects {
        if !project.join("Cargo.toml").is_file() {
            bail!(
                "{} is not a plugin project: it has no Cargo.toml; give the project's folder",
                project.display()
            );
        }
    }
    ensure_target(projects.first().map_or(Path::new("."), PathBuf::as_path))?;
    let mut built = Vec::new();
    for project in projects {
        let began = Instant::now();
        output::note(&format!("building {}", project.display()));
        let Some(components) = cargo_build(project, output)? else { return Ok(None) };
        let (count, seconds) = (components.len(), began.elapsed().as_secs_f64());
        output::note(&format!("built {count} components in {seconds:.1} s"));
        built.extend(components);
    }
    Ok(Some(built))
}

fn cargo_build(project: &Path, output: Output) -> anyhow::Result<Option<Vec<Built>>> {
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
            built.extend(components(&message));
        }
    }
    if !cargo.wait()?.success() {
        output::note(&format!("{} did not build; the compiler's words are above", project.display()));
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
fn components(message: &Value) -> Vec<Built> {
    let is_library = |kind: &Value| kind.as_str() == Some("cdylib");
    let kinds = message["target"]["kind"].as_array().map(Vec::as_slice).unwrap_or_default();
    if message["reason"] != "compiler-artifact" || !kinds.iter().any(is_library) {
        return Vec::new();
    }
    let files = message["filenames"].as_array().map(Vec::as_slice).unwrap_or_default();
    files
        .iter()
        .filter_map(Value::as_str)
        .filter(|file| file.ends_with(".wasm"))
        .map(|file| Built {
            component: PathBuf::from(file),
            bytes: std::fs::metadata(file).map_or(0, |metadata| metadata.len()),
        })
        .collect()
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
        Ok(_) => bail!("`rustup target add {TARGET}` failed; its words are above"),
        Err(error) => bail!(
            "the target {TARGET} is missing, and `rustup` could not be started ({error}); install the target the way Rust was installed"
        ),
    }
}
