//! Builds projects as they change: one build at a time, and the next one after it.
//!
//! Owns the watch on their sources. What it has to say it logs: the log is what an author sees.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use super::project::{Colours, Outcome, Project};
use crate::cli::project;
use crate::registry::{Changes, Watch};
use crate::telemetry::event::Event;

/// The projects and what watches them.
pub(super) struct Builder {
    projects: Vec<Project>,
    watching: Option<(Watch, Changes)>,
    colours: Colours,
}

impl Builder {
    /// Watches these projects from now on, but for `without` in them; nothing is built yet.
    ///
    /// # Errors
    /// If one of them is not there.
    pub(super) fn start(projects: Vec<PathBuf>, without: BTreeSet<PathBuf>) -> anyhow::Result<Self> {
        if let Some(missing) = projects.iter().find(|project| !project.is_dir()) {
            anyhow::bail!("{} is not a folder; give a plugin project's with `--plugins`", missing.display());
        }
        let projects = apart(projects)?;
        let colours = if std::io::stderr().is_terminal() { Colours::Yes } else { Colours::No };
        let watching = match Watch::start() {
            Ok((watch, changes)) => {
                for problem in watch.trees_without(projects.iter().cloned(), without.iter().cloned()) {
                    tracing::warn!("{problem}");
                }
                Some((watch, changes))
            }
            Err(error) => {
                tracing::warn!("saving a source builds nothing: {error}");
                None
            }
        };
        let project = |root| Project::new(root, without.clone());
        Ok(Self { projects: projects.into_iter().map(project).collect(), watching, colours })
    }

    /// Builds every project. One that fails is reported; the others are built.
    pub(super) async fn build_all(&mut self) {
        for index in 0..self.projects.len() {
            self.build(index).await;
        }
    }

    /// Builds what changes, for as long as the sources are watched. What changes during a build is
    /// built after it.
    pub(super) async fn run(mut self) {
        // What changed while the others were built, and files that only the build reported.
        let mut changed = None;
        loop {
            for index in 0..self.projects.len() {
                let project = &self.projects[index];
                let concerned = changed.as_ref().is_none_or(|changed: &BTreeSet<PathBuf>| {
                    changed.contains(&project.root) || !changed.is_disjoint(&project.outside)
                });
                if concerned && project.is_stale().await {
                    self.build(index).await;
                }
            }
            let Some((_, changes)) = &mut self.watching else { return };
            let Some(next) = changes.next().await else { return };
            changed = Some(next);
        }
    }

    async fn build(&mut self, index: usize) {
        let Some(project) = self.projects.get_mut(index) else { return };
        let name = project.root.display().to_string();
        let began = Instant::now();
        tracing::info!(name: Event::BuildStarted.name(), project = name, "building");
        match project.build(self.colours).await {
            Ok(Outcome::Built { components, output }) => {
                let ms = began.elapsed().as_millis() as u64;
                tracing::info!(name: Event::BuildFinished.name(), project = name, components, ms, output, "built");
                self.watch_outside();
            }
            Ok(Outcome::Failed { output }) => {
                tracing::error!(name: Event::BuildFailed.name(), project = name, output, "build failed")
            }
            Err(error) => {
                tracing::error!(name: Event::BuildFailed.name(), project = name, output = format!("{error:#}"), "build failed")
            }
        }
    }

    /// Watches the files outside of the projects that go into them.
    fn watch_outside(&self) {
        let Some((watch, _)) = &self.watching else { return };
        let files: BTreeSet<PathBuf> =
            self.projects.iter().flat_map(|project| project.outside.iter().cloned()).collect();
        for problem in watch.files(files) {
            tracing::warn!("{problem}");
        }
    }
}

/// The projects in these folders, each of which is built alone; a workspace of cargo's is one.
fn apart(folders: Vec<PathBuf>) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for folder in folders {
        let found = project::find(&folder)?;
        if found.iter().any(|project| project.folder == folder) {
            all.push(folder);
        } else {
            all.extend(found.into_iter().map(|project| project.folder));
        }
    }
    Ok(all)
}
