//! Who may use which capability: pure policy, deny by default.
//!
//! Every WIT import that an agent can have is decided about here, once. An import that is not
//! in [`DECISIONS`] is unknown and refuses the component at load.

use crate::config::Grants;
use crate::domain::{CapabilityScope, Denial};

/// What is decided about an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Linked and inert: every language's runtime imports it, and it reaches nothing.
    Ambient,
    /// Reaches only what is the agent's own: its log, its table `config`. Needs no grant.
    Own,
    /// Needs the grant of this name.
    Gated(&'static str),
}

/// A decision for each interface, by the part of its name before the version.
pub const DECISIONS: &[(&str, Decision)] = &[
    ("wasi:cli/environment", Decision::Ambient),
    ("wasi:cli/exit", Decision::Ambient),
    ("wasi:cli/stderr", Decision::Ambient),
    ("wasi:cli/stdin", Decision::Ambient),
    ("wasi:cli/stdout", Decision::Ambient),
    ("wasi:cli/terminal-input", Decision::Ambient),
    ("wasi:cli/terminal-output", Decision::Ambient),
    ("wasi:cli/terminal-stderr", Decision::Ambient),
    ("wasi:cli/terminal-stdin", Decision::Ambient),
    ("wasi:cli/terminal-stdout", Decision::Ambient),
    ("wasi:clocks/monotonic-clock", Decision::Ambient),
    ("wasi:clocks/wall-clock", Decision::Ambient),
    ("wasi:filesystem/preopens", Decision::Ambient),
    ("wasi:filesystem/types", Decision::Ambient),
    ("wasi:io/error", Decision::Ambient),
    ("wasi:io/poll", Decision::Ambient),
    ("wasi:io/streams", Decision::Ambient),
    ("wasi:random/insecure", Decision::Ambient),
    ("wasi:random/insecure-seed", Decision::Ambient),
    ("wasi:random/random", Decision::Ambient),
    ("wasi:sockets/instance-network", Decision::Ambient),
    ("wasi:sockets/ip-name-lookup", Decision::Ambient),
    ("wasi:sockets/network", Decision::Ambient),
    ("wasi:sockets/tcp", Decision::Ambient),
    ("wasi:sockets/tcp-create-socket", Decision::Ambient),
    ("wasi:sockets/udp", Decision::Ambient),
    ("wasi:sockets/udp-create-socket", Decision::Ambient),
    ("wasi:config/store", Decision::Own),
    ("wasi:logging/logging", Decision::Own),
    ("stockade:system/system", Decision::Gated("system")),
];

/// What is decided about `import`, a name such as `wasi:cli/exit@0.2.6`; `None` if nothing is.
pub fn decision(import: &str) -> Option<Decision> {
    let name = import.split('@').next().unwrap_or(import);
    // An agent may import types alone from the contract it exports.
    if name == "stockade:agent/agent" || name == "stockade:agent/health" {
        return Some(Decision::Ambient);
    }
    DECISIONS.iter().find(|(interface, _)| *interface == name).map(|(_, decision)| *decision)
}

/// Whether an agent with `grants` may use the gated `capability` for a caller with `scope`.
///
/// # Errors
/// The denial to record, which says what to add to which file.
pub fn check(
    agent: &str,
    capability: &'static str,
    grants: &Grants,
    scope: &CapabilityScope,
) -> Result<(), Denial> {
    let key_to_add = if grants.0.get(capability) != Some(&true) {
        format!("[agents.{agent}.grants] {capability} = true")
    } else if !scope.allows(capability) {
        format!("[[auth.keys]] capabilities: \"{capability}\"")
    } else {
        return Ok(());
    };
    Err(Denial { capability: capability.to_owned(), key_to_add })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(value: Option<bool>) -> Grants {
        Grants(value.into_iter().map(|value| ("system".to_owned(), value)).collect())
    }

    #[test]
    fn a_capability_needs_the_agents_grant_and_the_keys_scope() {
        let only =
            |names: &[&str]| CapabilityScope::Only(names.iter().map(|name| (*name).to_owned()).collect());
        let missing = |grants, scope: &CapabilityScope| {
            check("a", "system", &granted(grants), scope).err().map(|denial| denial.key_to_add)
        };
        let agent = Some("[agents.a.grants] system = true".to_owned());
        let key = Some("[[auth.keys]] capabilities: \"system\"".to_owned());
        assert_eq!(missing(Some(true), &CapabilityScope::All), None);
        assert_eq!(missing(Some(true), &only(&["system"])), None);
        assert_eq!(missing(None, &CapabilityScope::All), agent);
        assert_eq!(missing(Some(false), &CapabilityScope::All), agent);
        assert_eq!(missing(Some(true), &only(&[])), key);
        assert_eq!(missing(None, &only(&[])), agent);
    }

    #[test]
    fn versions_do_not_matter_and_strangers_are_unknown() {
        assert_eq!(decision("wasi:cli/exit@0.2.6"), Some(Decision::Ambient));
        assert_eq!(decision("stockade:system/system@0.1.0"), Some(Decision::Gated("system")));
        assert_eq!(decision("wasi:http/outgoing-handler@0.2.6"), None);
        assert_eq!(decision(""), None);
    }
}
