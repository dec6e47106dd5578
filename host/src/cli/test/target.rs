//! What is to be tested: a file, what was built in a folder, or an agent of the settings file.
//!
//! Looks at files; builds nothing and runs nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::config::{AgentConfig, Config, Limits};
use crate::domain::AgentId;

/// A component, and what its calls may spend and read.
pub(super) struct Target {
    /// The component's file.
    pub(super) component: PathBuf,
    /// Whose name it runs under.
    pub(super) id: AgentId,
    /// What one call may spend.
    pub(super) limits: Limits,
    /// What `wasi:config` gives.
    pub(super) config: BTreeMap<String, String>,
    /// The file of cases next to it.
    pub(super) cases: Option<PathBuf>,
}

/// The target for components, and where cargo puts them.
const BUILT: &str = "target/wasm32-wasip2/release";
/// The cases of a project, in its folder.
const CASES: &str = "cases.toml";

/// Finds what `name` stands for.
///
/// # Errors
/// What there is instead, and what to give.
pub(super) fn find(name: &str, config: &Config) -> Result<Target, String> {
    let path = Path::new(name);
    if path.is_dir() {
        let cases = Some(path.join(CASES)).filter(|file| file.is_file());
        return Ok(Target { cases, ..of_file(built(path)?, config)? });
    }
    if path.is_file() {
        return of_file(path.to_owned(), config);
    }
    if let Some(agent) = config.agents.values().find(|agent| agent.key.id.as_str() == name) {
        return Ok(of_agent(agent));
    }
    if path.extension().is_some() || name.contains('/') {
        return Err(format!("there is no file or folder `{name}`; build the agent (`stockade build`)"));
    }
    let ids: Vec<&str> = config.agents.keys().map(AgentId::as_str).collect();
    let known = match ids.as_slice() {
        [] => "the settings file has no agents".to_owned(),
        ids => format!("the agents of the settings file are {}", ids.join(", ")),
    };
    Err(format!("`{name}` is no file, folder or agent: {known}; give a component (.wasm), or its folder"))
}

fn of_agent(agent: &AgentConfig) -> Target {
    Target {
        component: agent.component.clone(),
        id: agent.key.id.clone(),
        limits: agent.limits,
        config: agent.config.clone(),
        cases: None,
    }
}

/// A component that the settings file need not know: it has the limits of an agent without any.
fn of_file(component: PathBuf, config: &Config) -> Result<Target, String> {
    let id = crate::cli::check::id_of(&component).map_err(|error| error.to_string())?;
    Ok(Target { component, id, limits: config.default_limits, config: BTreeMap::new(), cases: None })
}

/// The one component that was built in a project's folder.
fn built(folder: &Path) -> Result<PathBuf, String> {
    let mut found = components(folder);
    found.extend(components(&folder.join(BUILT)));
    if found.is_empty() {
        found.extend(of_workspace(folder));
    }
    let shown = folder.display();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(format!("there is no component in {shown}; build it (`stockade build {shown}`)")),
        many => {
            let names: Vec<String> = many.iter().map(|file| file.display().to_string()).collect();
            Err(format!("there are several components in {shown}; give one of {}", names.join(", ")))
        }
    }
}

/// The component of a package whose workspace, further up, holds what it built.
fn of_workspace(folder: &Path) -> Option<PathBuf> {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).ok()?;
    let manifest = DeTable::parse(&manifest).ok()?;
    let name = |table: &str| {
        let table = manifest.get_ref().get(table)?.get_ref().as_table()?;
        table.get("name")?.get_ref().as_str().map(str::to_owned)
    };
    let file = format!("{}.wasm", name("lib").or_else(|| name("package"))?.replace('-', "_"));
    let absolute = std::path::absolute(folder).ok()?;
    absolute.ancestors().skip(1).map(|above| above.join(BUILT).join(&file)).find(|file| file.is_file())
}

/// The `.wasm` files right in `folder`.
fn components(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path()).filter(|path| path.is_file());
    let mut found: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "wasm")).collect();
    found.sort();
    found
}
