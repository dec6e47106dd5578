//! `[auth]`: who may call.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::entry::{Entry, type_name};
use super::grants;
use super::key::{Key, Kind, count, flag, other};
use super::report::Report;
use super::section::{Section, shorten};
use crate::domain::{AgentScope, CapabilityScope, Digest, Role, TenantId};

/// `[auth]`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuthConfig {
    /// `anonymous`: callers without a key get in with the role `call`, on loopback only.
    pub anonymous: bool,
    /// `[[auth.keys]]`, and the environment's `ORCHESTRATOR_API_KEY` as the key named `env`.
    pub keys: Vec<KeyConfig>,
}

/// One key: never the key itself, its SHA-256.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyConfig {
    /// `name`: unique; it stands in logs.
    pub name: String,
    /// `sha256`: 64 hexadecimal digits.
    pub sha256: Digest,
    /// `role`: `call` (default), `admin` or `operator`.
    pub role: Role,
    /// `tenant`: `default` unless given.
    pub tenant: TenantId,
    /// `scope`: `*`, ids, globs, `category:NAME`; a string or a list.
    pub scope: AgentScope,
    /// `capabilities`: what agents may use on this key's behalf; everything unless given.
    pub capabilities: CapabilityScope,
    /// `priority`: 0 to 9, 0 unless given.
    pub priority: u8,
    /// Whether the key is shorter than 32 characters, where that is known (the environment's).
    pub short: bool,
}

/// The name of the environment's key.
pub const ENVIRONMENT_KEY: &str = "env";

/// Names that the host gives to callers itself, and so cannot be a key's.
const RESERVED_NAMES: &[&str] = &[ENVIRONMENT_KEY, "anonymous", "cli", "local-admin"];
/// What `role` may be, the least first.
pub(crate) const ROLES: &[&str] = &["call", "admin", "operator"];

/// The keys of `[auth]`.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "anonymous",
        flag(false),
        "lets callers without a key in with the role `call`; on loopback only",
    ),
    Key::new("keys", other("a list of tables"), "`[[auth.keys]]`: one table a key").default_in_words("none"),
];

/// The keys of `[[auth.keys]]`.
pub(super) const KEY_KEYS: &[Key] = &[
    Key::new("name", other("1 to 64 of letters, digits, `.`, `_`, `-` and `@`"), "unique; it stands in logs")
        .default_in_words("required"),
    Key::new("sha256", other("64 hexadecimal digits"), "the key's SHA-256; `stockade keys create` prints it")
        .default_in_words("required"),
    Key::new(
        "scope",
        other("a pattern, or a list of them"),
        "the agents it may see and call: `*`, ids, globs, `category:NAME`",
    )
    .default_in_words("required"),
    Key::new(
        "role",
        Kind::Word { known: ROLES, default: "call" },
        "`call` agents; `admin`: change those of its scope, too; `operator`: have the whole host (its scope is `*`)",
    ),
    Key::new("tenant", other("an id"), "whose work its calls are").default_in_words("`\"default\"`"),
    Key::new("capabilities", other("a name, a list of names, or `*`"), "what agents may use on its behalf")
        .default_in_words("`\"*\"`"),
    Key::new("priority", count(0, 9, 0), "who goes first when there is not enough for all; higher is sooner"),
];

/// Reads `[auth]`.
pub(super) fn read(report: &mut Report<'_>, section: &Section<'_, '_>) -> AuthConfig {
    AuthConfig { anonymous: section.flag(report, "anonymous"), keys: keys(report, section) }
}

fn keys(report: &mut Report<'_>, section: &Section<'_, '_>) -> Vec<KeyConfig> {
    let Some(entry) = section.get("keys") else {
        return Vec::new();
    };
    let DeValue::Array(items) = entry.value.get_ref() else {
        let message = format!("must be a list of tables, not {}", type_name(entry.value.get_ref()));
        entry.wrong(report, &message, "write `[[auth.keys]]`, with double brackets".to_owned());
        return Vec::new();
    };
    let mut seen = Seen::default();
    let mut keys = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = format!("{}[{index}]", entry.path);
        let Some(table) = item.get_ref().as_table() else {
            let message = format!("`{path}` must be a table, not {}", type_name(item.get_ref()));
            // Somebody may have pasted a key here.
            report.wrong_secret(
                item.span(),
                &path,
                message,
                "write `[[auth.keys]]`, and its keys below".to_owned(),
            );
            continue;
        };
        keys.extend(key(report, path, item.span(), table, &mut seen));
    }
    keys
}

/// The lines where names and hashes were first met.
#[derive(Default)]
struct Seen {
    names: BTreeMap<String, usize>,
    hashes: BTreeMap<Digest, usize>,
}

fn key(
    report: &mut Report<'_>,
    path: String,
    at: Range<usize>,
    table: &DeTable<'_>,
    seen: &mut Seen,
) -> Option<KeyConfig> {
    let section = Section::of(report, "[[auth.keys]]".to_owned(), path, at, Some(table), KEY_KEYS);
    let name = required(report, &section, "name").and_then(|entry| name(report, &entry, seen));
    let sha256 = required(report, &section, "sha256").and_then(|entry| sha256(report, &entry, seen));
    let scope = required(report, &section, "scope").and_then(|entry| scope(report, &entry));
    let role = section.get("role").and_then(|entry| role(report, &entry, scope.as_ref()));
    let tenant = section.get("tenant").and_then(|entry| tenant(report, &entry));
    let capabilities = section.get("capabilities").and_then(|entry| capabilities(report, &entry));
    let priority = section.number(report, "priority");
    Some(KeyConfig {
        name: name?,
        sha256: sha256?,
        role: role.unwrap_or(Role::Call),
        tenant: tenant.unwrap_or_else(TenantId::default_tenant),
        scope: scope?,
        capabilities: capabilities.unwrap_or(CapabilityScope::All),
        priority: u8::try_from(priority).unwrap_or_default(),
        short: false,
    })
}

fn required<'a, 'i>(
    report: &mut Report<'_>,
    section: &Section<'a, 'i>,
    name: &'static str,
) -> Option<Entry<'a, 'i>> {
    let entry = section.get(name);
    if entry.is_none() {
        let help = match name {
            "sha256" => "`stockade keys create` makes a key and prints its `sha256`".to_owned(),
            "scope" => "write `scope = \"*\"` for every agent, or a list of ids".to_owned(),
            _ => format!("add `{name} = \"...\"`"),
        };
        let message = format!("{} has no `{name}`", section.title);
        report.wrong_in_context(section.at.clone(), &section.path_of(name), message, help);
    }
    entry
}

fn name(report: &mut Report<'_>, entry: &Entry<'_, '_>, seen: &mut Seen) -> Option<String> {
    let text = entry.text(report)?;
    if let Err(reason) = check_key_name(text) {
        entry.wrong(report, &reason, "choose another name, such as \"ci\" or \"alice@laptop\"".to_owned());
        return None;
    }
    let line = report.line_of(&entry.value.span());
    if let Some(first) = seen.names.insert(text.to_owned(), line) {
        let message = format!("is `{text}` a second time; the first is on line {first}");
        entry.wrong(report, &message, "give every key a name of its own".to_owned());
        return None;
    }
    Some(text.to_owned())
}

fn sha256(report: &mut Report<'_>, entry: &Entry<'_, '_>, seen: &mut Seen) -> Option<Digest> {
    let text = entry.text(report)?;
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some(digest) = Digest::from_hex(text).filter(|_| hex) else {
        let chars = text.chars().count();
        let what = if hex { "hexadecimal digits" } else { "characters, not all of them hexadecimal digits" };
        let message = format!("`{}` is not a SHA-256: it has {chars} {what}", entry.path);
        let help =
            "put the 64 hexadecimal digits here that `stockade keys create` prints; never the key itself";
        report.wrong_secret(entry.value.span(), &entry.path, message, help.to_owned());
        return None;
    };
    let line = report.line_of(&entry.value.span());
    if let Some(first) = seen.hashes.insert(digest, line) {
        let message = format!("`{}` is the same key as the one on line {first}", entry.path);
        let help = "make another with `stockade keys create`: which scope counts would be unclear".to_owned();
        report.wrong_secret(entry.value.span(), &entry.path, message, help);
        return None;
    }
    Some(digest)
}

fn scope(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Option<AgentScope> {
    let texts = entry.text_or_list(report)?;
    let mut fine = true;
    for (span, text) in &texts {
        if let Err(error) = AgentScope::parse([*text]) {
            fine = false;
            let list = text.contains(',').then(|| {
                let parts: Vec<String> = text.split(',').map(|part| format!("\"{}\"", part.trim())).collect();
                format!("write a list: [{}]", shorten(&parts.join(", ")).replace("\\\"", "\""))
            });
            report.wrong(span.clone(), &entry.path, format!("`{}`: {error}", entry.path), list);
        }
    }
    fine.then(|| AgentScope::parse(texts.iter().map(|(_, text)| *text)).ok()).flatten()
}

fn role(report: &mut Report<'_>, entry: &Entry<'_, '_>, scope: Option<&AgentScope>) -> Option<Role> {
    match entry.word(report, ROLES)? {
        "operator" => {
            if scope.is_some_and(|scope| !scope.is_all()) {
                let message = "is `operator`, who has every agent, but the key's scope names some only";
                let help = "write `scope = \"*\"`, or `role = \"admin\"` for the agents of that scope";
                entry.wrong(report, message, help.to_owned());
            }
            Some(Role::Operator)
        }
        "admin" => Some(Role::Admin),
        _ => Some(Role::Call),
    }
}

fn tenant(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Option<TenantId> {
    let text = entry.text(report)?;
    let tenant = TenantId::parse(text).ok();
    if tenant.is_none() {
        let help = "use 1 to 64 of a-z, 0-9, `-` and `_`, beginning with a letter or digit";
        entry.wrong(report, &format!("is `{}`, which is not a tenant's id", shorten(text)), help.to_owned());
    }
    tenant
}

fn capabilities(report: &mut Report<'_>, entry: &Entry<'_, '_>) -> Option<CapabilityScope> {
    let texts = entry.text_or_list(report)?;
    if texts.iter().any(|(_, text)| *text == "*") {
        return Some(CapabilityScope::All);
    }
    let mut capabilities = Vec::with_capacity(texts.len());
    for (span, text) in texts {
        match grants::capability(text) {
            Ok(capability) => capabilities.push(capability),
            Err((message, help)) => {
                report.wrong(span, &entry.path, format!("`{}`: {message}", entry.path), help);
            }
        }
    }
    Some(CapabilityScope::Only(capabilities.into()))
}

/// Whether `text` can be a key's name; what is wrong with it.
///
/// # Errors
/// The end of a sentence that begins with what the name is of.
pub(crate) fn check_key_name(text: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    if !(1..=64).contains(&text.len()) || !text.bytes().all(fits) {
        return Err(format!(
            "is `{}`: a key's name is 1 to 64 of letters, digits, `.`, `_`, `-` and `@`",
            shorten(text)
        ));
    }
    if RESERVED_NAMES.contains(&text) {
        return Err(format!("is `{text}`, which the host uses itself"));
    }
    Ok(())
}
