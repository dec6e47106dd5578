//! `stockade build`: plugin projects to components, in whatever language they are written.
//!
//! `project` says what a project is; one file below says how those of each language are built. A
//! component appears complete or not at all, for a host may be watching its file.

mod c;
mod contract;
mod javascript;
mod python;
mod rust;
mod tools;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tempfile::TempDir;

use super::output::{self, Output};
use super::project::{self, COMPONENT, LEFTOVERS, Language, Project};
use super::{Exit, Global};

/// Arguments of `stockade build`.
#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// The projects, or folders of them; without any, `plugins` next to the settings file, or the project
    /// that the settings file lies in
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

impl Built {
    fn of(component: PathBuf) -> anyhow::Result<Self> {
        let found = std::fs::metadata(&component);
        let found = found.with_context(|| format!("{} was built and is not there", component.display()))?;
        Ok(Self { component, bytes: found.len() })
    }
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

/// The projects of a settings file: the folder `plugins` next to it or, in a project of its own, that.
pub(super) fn beside(config: &Path) -> PathBuf {
    let folder = match config.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let plugins = folder.join("plugins");
    if !plugins.is_dir() && Language::of(folder).is_some() { folder.to_owned() } else { plugins }
}

/// Builds these projects; `None` if one did not build, which has been reported on standard error.
pub(super) fn build(projects: &[PathBuf], output: Output) -> anyhow::Result<Option<Vec<Built>>> {
    let mut found = Vec::new();
    for path in projects {
        found.extend(project::find(path)?);
    }
    let mut built = Vec::new();
    let mut failed = false;
    for project in found {
        let began = Instant::now();
        output::note(&format!("building {} ({})", project.folder.display(), project.language.name()));
        match one(&project, output) {
            Ok(Some(components)) => {
                let (count, seconds) = (components.len(), began.elapsed().as_secs_f64());
                let noun = if count == 1 { "component" } else { "components" };
                output::note(&format!("built {count} {noun} in {seconds:.1} s"));
                built.extend(components);
            }
            Ok(None) => {
                let shown = project.folder.display();
                output::note(&format!("{shown} did not build; the compiler's output is above"));
                failed = true;
            }
            // The others are built all the same.
            Err(error) => {
                output::note(&format!("error: {error:#}"));
                failed = true;
            }
        }
    }
    Ok((!failed).then_some(built))
}

fn one(project: &Project, output: Output) -> anyhow::Result<Option<Vec<Built>>> {
    match project.language {
        Language::Rust => rust::build(&project.folder, output),
        Language::Python => python::build(&project.folder),
        Language::JavaScript => javascript::build(&project.folder),
        Language::C => c::build(&project.folder),
    }
}

/// A component in the making, in a folder of its own that goes when this is dropped.
struct Draft {
    folder: TempDir,
    component: PathBuf,
}

impl Draft {
    fn new(project: &Path) -> anyhow::Result<Self> {
        // Tools are started in the project's folder, so paths that they are given are absolute.
        let project = std::path::absolute(project)?;
        let leftovers = project.join(LEFTOVERS);
        let make = || {
            std::fs::create_dir_all(&leftovers)?;
            tempfile::Builder::new().prefix("draft-").tempdir_in(&leftovers)
        };
        let folder = make().with_context(|| format!("cannot write to {}", leftovers.display()))?;
        Ok(Self { folder, component: project.join(COMPONENT) })
    }

    /// Where the component is written first.
    fn path(&self) -> PathBuf {
        self.beside(COMPONENT)
    }

    /// A file for something else that the build needs for a while.
    fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts the component in its place, in one step.
    fn publish(self) -> anyhow::Result<Built> {
        std::fs::rename(self.path(), &self.component)
            .with_context(|| format!("cannot write {}", self.component.display()))?;
        Built::of(self.component)
    }
}
