//! Who asks: the identity that travels with every submit.
//!
//! Pure policy: which agents a scope reaches, and which capabilities it lends. What a caller may do with
//! them is decided in [`rights`](super::rights).

use std::fmt;
use std::sync::Arc;

use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};

use super::{AgentId, Capability, Digest, TenantId};

/// What a key may do besides calling agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Call the agents in its scope.
    Call,
    /// That, and change the agents in its scope.
    Admin,
    /// That, and everything about the host itself.
    Operator,
}

impl Role {
    /// The role's word in agents.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Admin => "admin",
            Self::Operator => "operator",
        }
    }
}

/// A caller, as authentication found it.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Whose work this is.
    pub tenant: TenantId,
    /// The key's name, or `anonymous`, `env`, `cli`. Never the key itself.
    pub key_id: Arc<str>,
    /// The SHA-256 of its key, by which it is known whether the key still holds; `None` without one.
    pub key: Option<Digest>,
    /// What it may do besides calling.
    pub role: Role,
    /// The agents that it may see and call.
    pub agent_scope: AgentScope,
    /// The capabilities that agents may use on its behalf.
    pub capability_scope: CapabilityScope,
    /// Who goes first when there is not enough for all: higher is sooner, 0 is usual.
    pub priority: u8,
}

impl Principal {
    /// The operator at the command line: everything is allowed.
    pub fn operator(key_id: &str) -> Self {
        Self {
            tenant: TenantId::default_tenant(),
            key_id: key_id.into(),
            key: None,
            role: Role::Operator,
            agent_scope: AgentScope::all(),
            capability_scope: CapabilityScope::All,
            priority: 0,
        }
    }
}

/// Who somebody is, without what they may do: what is kept of a caller whose task runs later. Their rights are
/// asked for when it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Whose work it is.
    pub tenant: TenantId,
    /// The key's name.
    pub key_id: Arc<str>,
    /// The SHA-256 of the key; `None` without one.
    pub key: Option<Digest>,
}

impl From<&Principal> for Identity {
    fn from(principal: &Principal) -> Self {
        let Principal { tenant, key_id, key, .. } = principal;
        Self { tenant: tenant.clone(), key_id: key_id.clone(), key: *key }
    }
}

/// Why a scope could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a scope: use `*`, an agent's id, a pattern such as `team-*`, or `category:NAME`")]
pub struct InvalidScope {
    /// The pattern as it was written.
    pub pattern: String,
}

/// Which agents a key may see and call: a union of `*`, ids, globs and `category:NAME`.
#[derive(Clone)]
pub struct AgentScope {
    rules: Arc<[ScopeRule]>,
    /// The patterns as written, sorted: equal scopes have equal texts.
    text: Arc<str>,
}

#[derive(Debug, Clone)]
enum ScopeRule {
    All,
    Id(String),
    Glob(GlobMatcher),
    Category(String),
}

impl AgentScope {
    /// Every agent.
    pub fn all() -> Self {
        Self { rules: [ScopeRule::All].into(), text: "*".into() }
    }

    /// Reads patterns, each as [`InvalidScope`] says.
    ///
    /// # Errors
    /// The first pattern that has no such form.
    pub fn parse<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidScope> {
        let mut texts: Vec<&str> = patterns.into_iter().map(str::trim).collect();
        texts.sort_unstable();
        texts.dedup();
        let rules = texts.iter().map(|text| ScopeRule::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { rules, text: texts.join("\n").into() })
    }

    /// Whether the agent `id` of `category` is in this scope.
    pub fn allows(&self, id: &AgentId, category: &str) -> bool {
        self.rules.iter().any(|rule| match rule {
            ScopeRule::All => true,
            ScopeRule::Id(own) => own == id.as_str(),
            ScopeRule::Glob(glob) => glob.is_match(id.as_str()),
            ScopeRule::Category(own) => own == category,
        })
    }

    /// Whether this is every agent, whatever agents there are.
    pub fn is_all(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, ScopeRule::All))
    }

    /// Whether it names this category itself.
    pub fn names_category(&self, category: &str) -> bool {
        self.rules.iter().any(|rule| matches!(rule, ScopeRule::Category(own) if own == category))
    }

    /// Whether it names any category.
    pub fn names_categories(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, ScopeRule::Category(_)))
    }

    /// The patterns, sorted, one a line: a name that no other scope has, fit as a cache's key.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for AgentScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentScope({:?})", self.text)
    }
}

impl PartialEq for AgentScope {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl ScopeRule {
    fn parse(text: &str) -> Result<Self, InvalidScope> {
        let invalid = || InvalidScope { pattern: text.chars().take(80).collect() };
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some(category) = text.strip_prefix("category:") {
            let named = !category.trim().is_empty() && !category.contains(char::is_control);
            return named.then(|| Self::Category(category.trim().to_owned())).ok_or_else(invalid);
        }
        if text.contains(['*', '?', '[', '{']) {
            let fit = text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b'\\');
            let glob = Glob::new(text).ok().filter(|_| fit).ok_or_else(invalid)?;
            return Ok(Self::Glob(glob.compile_matcher()));
        }
        AgentId::parse(text).map(|_| Self::Id(text.to_owned())).map_err(|_| invalid())
    }
}

/// Which capabilities agents may use on behalf of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CapabilityScope {
    /// Whatever the agent is granted.
    All,
    /// Only these.
    Only(Arc<[Capability]>),
}

impl CapabilityScope {
    /// None at all.
    pub fn none() -> Self {
        Self::Only([].into())
    }

    /// Whether `capability` is in this scope.
    pub fn allows(&self, capability: Capability) -> bool {
        match self {
            Self::All => true,
            Self::Only(capabilities) => capabilities.contains(&capability),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(patterns: &[&str], id: &str, category: &str) -> bool {
        let scope = AgentScope::parse(patterns.iter().copied()).expect("patterns");
        scope.allows(&AgentId::parse(id).expect("id"), category)
    }

    #[test]
    fn a_scope_is_the_union_of_its_patterns() {
        assert!(allows(&["*"], "anything", ""));
        assert!(allows(&["vps-monitor"], "vps-monitor", ""));
        assert!(!allows(&["vps-monitor"], "vps-monitor-2", ""));
        assert!(allows(&["team-*", "x"], "team-7", ""));
        assert!(allows(&["category:database"], "neon", "database"));
        assert!(!allows(&["category:database"], "database", ""));
        assert!(!allows(&[], "a", ""));
    }

    #[test]
    fn a_bad_pattern_is_named() {
        for bad in ["", "Team", "category:", "a/*", "[", "a b"] {
            assert!(AgentScope::parse([bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn equal_scopes_have_equal_names() {
        let a = AgentScope::parse(["b", "a"]).expect("scope");
        let b = AgentScope::parse(["a", " b", "a"]).expect("scope");
        assert_eq!(a, b);
        let one = AgentScope::parse(["category:x,vps"]).expect("scope");
        let two = AgentScope::parse(["category:x", "vps"]).expect("scope");
        assert_ne!(one, two);
    }
}
