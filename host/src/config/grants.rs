//! `grants`: which capabilities an agent may use, and how much of each.
//!
//! A capability is `true`, `false`, or a table of its policy. What a policy means is in
//! [`domain`](crate::domain::Policy); here are its keys, and what is wrong with them.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::entry::{Entry, type_name};
use super::key::{Key, Kind, one_of};
use super::report::Report;
use super::section::{Section, join};
use crate::domain::system::{Figure, SystemPolicy};
use crate::domain::{Capability, Grant, Grants, Policy};

/// The keys of a policy on `system`.
pub(super) const SYSTEM: &[Key] = &[Key::new(
    "figures",
    Kind::Words { known: Figure::NAMES },
    "the figures of the machine that it may read",
)
.default_in_words("required")];

/// The keys of the table of a policy.
fn keys(capability: Capability) -> &'static [Key] {
    match capability {
        Capability::System => SYSTEM,
    }
}

/// The capability of this name.
///
/// # Errors
/// A message and a help line where there is none.
pub(crate) fn capability(name: &str) -> Result<Capability, (String, String)> {
    Capability::parse(name)
        .map_err(|error| (error.to_string(), format!("use {}", one_of(&Capability::names()))))
}

/// Reads the table of grants.
pub(super) fn read(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Grants {
    let Some(table) = entry.value.get_ref().as_table() else {
        let message = format!("must be a table, not {}", type_name(entry.value.get_ref()));
        entry.wrong(report, &message, "for example `grants = { system = true }`".to_owned());
        return Grants::default();
    };
    let mut grants = Grants::default();
    for (name, value) in table {
        let path = join(&entry.path, name.get_ref());
        match capability(name.get_ref()) {
            Ok(capability) => grants.set(capability, grant(report, capability, path, value)),
            Err((message, help)) => report.wrong(name.span(), &path, message, help),
        }
    }
    grants
}

fn grant(
    report: &mut Report<'_>,
    capability: Capability,
    path: String,
    value: &Spanned<DeValue<'_>>,
) -> Option<Grant> {
    match value.get_ref() {
        DeValue::Boolean(true) => Some(Grant::Granted(Policy::whole(capability))),
        DeValue::Boolean(false) => Some(Grant::Denied),
        DeValue::Table(table) => policy(report, capability, path, value, table).map(Grant::Granted),
        other => {
            let message = format!("`{path}` must be `true`, `false` or a table, not {}", type_name(other));
            let help = format!("write `{capability} = true` to grant all of it");
            report.wrong(value.span(), &path, message, help);
            None
        }
    }
}

fn policy(
    report: &mut Report<'_>,
    capability: Capability,
    path: String,
    value: &Spanned<DeValue<'_>>,
    table: &DeTable<'_>,
) -> Option<Policy> {
    let title = format!("[{path}]");
    let section = Section::of(report, title, path, value.span(), Some(table), keys(capability));
    match capability {
        Capability::System => system(report, &section).map(Policy::System),
    }
}

fn system(report: &mut Report<'_>, section: &Section<'_, '_>) -> Option<SystemPolicy> {
    let all = "write `system = true` for all of them, or `false` for none";
    let Some(entry) = section.get("figures") else {
        let message = format!("{} has no `figures`", section.title);
        let help = format!("add `figures = [\"cpu\", \"memory\"]`; {all}");
        report.wrong_in_context(section.at.clone(), &section.path_of("figures"), message, help);
        return None;
    };
    let words = entry.words(report)?;
    let figures = Figure::ALL.into_iter().filter(|figure| words.contains(&figure.as_str()));
    let policy = SystemPolicy::of(figures);
    if policy.is_none() {
        entry.wrong(report, "is empty", format!("name at least one; {all}"));
    }
    policy
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{NoEnvironment, SECTIONS, parse};
    use super::*;

    fn grants(text: &str) -> Grants {
        let text = format!("[agents.a]\ncomponent = 'a.wasm'\n{text}");
        let config = parse(&text, "agents.toml", Path::new("/srv"), &NoEnvironment);
        config.unwrap_or_else(|problems| panic!("{problems}")).agents["a"].grants.clone()
    }

    /// What a policy says in a message can be pasted, and means the same.
    #[test]
    fn a_policy_is_read_as_it_is_written() {
        for figures in [&[Figure::Cpu][..], &[Figure::Networks, Figure::Disks], &Figure::ALL] {
            let policy = SystemPolicy::of(figures.iter().copied()).map(Policy::System).expect("a policy");
            let grant = Grant::Granted(policy);
            let read = grants(&format!("grants = {{ system = {grant} }}"));
            assert_eq!(read.get(Capability::System), Some(&grant));
        }
        for capability in Capability::ALL {
            let whole = Grant::Granted(Policy::whole(*capability));
            for (value, grant) in [("true", Some(&whole)), ("false", Some(&Grant::Denied))] {
                let read = grants(&format!("grants = {{ {capability} = {value} }}"));
                assert_eq!(read.get(*capability), grant);
            }
        }
        let twice = grants("grants.system.figures = ['memory', 'cpu', 'memory']");
        let once = grants("[agents.a.grants]\nsystem = { figures = ['cpu', 'memory'] }");
        assert_eq!(twice, once);
    }

    #[test]
    fn every_capability_has_its_keys_in_the_reference() {
        for capability in Capability::ALL {
            let title = format!("[agents.ID.grants.{capability}]");
            let section = SECTIONS.iter().find(|section| section.title == title);
            let listed = section.unwrap_or_else(|| panic!("{title} is not in SECTIONS")).keys;
            let names = |keys: &[Key]| keys.iter().map(|key| key.name).collect::<Vec<_>>();
            assert_eq!(names(listed), names(keys(*capability)), "{title}");
        }
    }
}
