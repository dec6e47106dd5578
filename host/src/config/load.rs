//! From a file, or its text, to a checked [`Config`]. Reads the one file; starts nothing, keeps nothing.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::environment::{self, Environment, NoEnvironment};
use super::key::Key;
use super::problem::Problems;
use super::report::Report;
use super::section::{Section, join, shorten, table};
use super::source::Source;
use super::{Config, agent, auth, engine, limits, reload, router, scheduler, server};
use crate::domain::TenantId;
use crate::domain::text::nearest;
use crate::storage::files::open_file;

/// The largest agents.toml, in bytes.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;

/// What may stand at the top of the file.
const ROOT: &[&str] = &["agents", "auth", "defaults", "engine", "reload", "router", "scheduler", "server"];
/// What may stand in `[defaults]`.
const DEFAULTS: &[&str] = &["limits"];

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such file.
    #[error(
        "there is no file `{}`: name the settings file with `--config`, or begin one there; an empty one is fine",
        .0.display()
    )]
    Missing(PathBuf),
    /// It is a folder.
    #[error("`{path}` is a folder: name the file in it, such as `{example}`", path = .0.display(), example = .0.join("agents.toml").display())]
    Folder(PathBuf),
    /// It is too large to be read.
    #[error(
        "`{}` is larger than 4 MiB, the most that a settings file may be: is it the right file?",
        .0.display()
    )]
    TooLarge(PathBuf),
    /// It is no text.
    #[error("`{path}` is not UTF-8 text from line {line} on: save it as UTF-8", path = .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first line that is not UTF-8, from 1.
        line: usize,
    },
    /// The system would not let it be read.
    #[error("could not read `{path}`: {error}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// What it says is wrong.
    #[error("{0}")]
    Invalid(Problems),
}

/// Reads and checks the settings file `path`, with the environment's overrides.
///
/// # Errors
/// Where the file cannot be read, or with everything that is wrong with it.
pub fn load(path: &Path, environment: &dyn Environment) -> Result<Config, LoadError> {
    load_text(path, &read(path)?, environment)
}

/// Checks the settings file `path`, of which this was read: at most one byte more than [`MAX_FILE`].
///
/// # Errors
/// Where it could not be read, or with everything that is wrong with it.
pub fn load_read(
    path: &Path,
    read: io::Result<Vec<u8>>,
    environment: &dyn Environment,
) -> Result<Config, LoadError> {
    load_text(path, &text(path, read)?, environment)
}

fn load_text(path: &Path, source: &str, environment: &dyn Environment) -> Result<Config, LoadError> {
    let unreadable = |error| LoadError::Unreadable { path: path.to_owned(), error };
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let base_dir = absolute.parent().unwrap_or(Path::new("/"));
    parse(source, &path.display().to_string(), base_dir, environment).map_err(LoadError::Invalid)
}

/// Checks the text of a settings file. `file_name` is for messages; `base_dir` is where relative paths
/// start from, itself absolute.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(
    source: &str,
    file_name: &str,
    base_dir: &Path,
    environment: &dyn Environment,
) -> Result<Config, Problems> {
    let (config, problems) = check(source, file_name, base_dir, environment);
    if problems.problems.is_empty() { Ok(config) } else { Err(problems) }
}

impl Config {
    /// What an empty file in `base_dir` says.
    pub fn defaults(base_dir: &Path) -> Self {
        check("", "agents.toml", base_dir, &NoEnvironment).0
    }
}

/// The text of a file of settings.
pub(super) fn read(path: &Path) -> Result<String, LoadError> {
    // One byte more than allowed shows that there is too much, whatever the file system says about its length.
    let bytes = || {
        let mut bytes = Vec::new();
        open_file(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    text(path, bytes())
}

/// What was read of a file of settings, as text.
fn text(path: &Path, read: io::Result<Vec<u8>>) -> Result<String, LoadError> {
    let bytes = read.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LoadError::Missing(path.to_owned()),
        io::ErrorKind::IsADirectory => LoadError::Folder(path.to_owned()),
        _ => LoadError::Unreadable { path: path.to_owned(), error },
    })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(LoadError::TooLarge(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        LoadError::NotText { path: path.to_owned(), line }
    })
}

/// Reads everything, whatever is wrong: what is wrong has its default.
fn check(text: &str, file_name: &str, base_dir: &Path, environment: &dyn Environment) -> (Config, Problems) {
    let source = Source::new(file_name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut report = Report::new(&source, &errors);
    let config = config(&mut report, document.get_ref(), base_dir, environment);
    (config, Problems { problems: report.into_problems() })
}

fn config(
    report: &mut Report<'_>,
    root: &DeTable<'_>,
    base_dir: &Path,
    environment: &dyn Environment,
) -> Config {
    unknown_sections(report, "", root, ROOT);
    let section = |report: &mut Report<'_>, name, keys: &'static [Key]| {
        Section::new(report, name, root.get(name), keys)
    };

    let engine = section(report, "engine", engine::KEYS);
    let engine = engine::read(report, &engine);

    let server = section(report, "server", server::KEYS);
    let mut server = server::read(report, &server, base_dir);
    environment::override_server(report, environment, base_dir, &mut server);

    let auth = section(report, "auth", auth::KEYS);
    let mut auth = auth::read(report, &auth);
    environment::add_key(report, environment, &mut auth);

    let scheduler = section(report, "scheduler", scheduler::KEYS);
    let scheduler = scheduler::read(report, &scheduler, &engine);

    let router = section(report, "router", router::KEYS);
    let router = router::read(report, &router);

    let reload = section(report, "reload", reload::KEYS);
    let reload = reload::read(report, &reload);

    let defaults = root.get("defaults").and_then(|value| table(report, "defaults", value));
    if let Some(defaults) = defaults {
        unknown_sections(report, "defaults", defaults, DEFAULTS);
    }
    let default_limits = defaults.and_then(|defaults| defaults.get("limits"));
    let default_limits = Section::new(report, "defaults.limits", default_limits, limits::KEYS);
    let built_in = limits::built_in(report, &engine);
    let default_limits = limits::read(report, &default_limits, built_in, &engine);

    let tenant = TenantId::default_tenant();
    let base = agent::Base { limits: default_limits, engine: &engine, dir: base_dir, tenant };
    let agents = root.get("agents").and_then(|value| table(report, "agents", value));
    let agents = agents.map(|agents| agent::read_all(report, agents, &base)).unwrap_or_default();

    let base_dir = base_dir.to_owned();
    Config { server, auth, engine, scheduler, router, reload, default_limits, agents, base_dir }
}

/// Reports what may not stand at the top of the file, or in `[defaults]`.
fn unknown_sections(
    report: &mut Report<'_>,
    path: &str,
    table: &DeTable<'_>,
    known: &'static [&'static str],
) {
    for (name, value) in table {
        let text = name.get_ref().as_ref();
        if known.contains(&text) {
            continue;
        }
        let is_section = match value.get_ref() {
            DeValue::Table(_) => true,
            DeValue::Array(items) => items.iter().any(|item| item.get_ref().is_table()),
            _ => false,
        };
        if !is_section {
            let title = if path.is_empty() { String::new() } else { format!("[{path}]") };
            super::section::unknown_key(report, &title, path, name, known);
            continue;
        }
        let full = |name: &str| join(path, name);
        let shown = shorten(&full(text));
        let (hint, help) = match nearest(text, known) {
            Some(near) => (
                format!("; did you mean `[{}]`?", full(near)),
                format!("change `{}` to `{near}`", shorten(text)),
            ),
            None => {
                let sections: Vec<String> = known.iter().map(|name| format!("`[{}]`", full(name))).collect();
                (String::new(), format!("the sections are {}", sections.join(", ")))
            }
        };
        report.wrong(name.span(), &full(text), format!("unknown section `[{shown}]`{hint}"), help);
    }
}
