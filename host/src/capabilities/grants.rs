//! Whether a gated call is allowed: pure policy, deny by default.

use crate::domain::{AgentId, CapabilityScope, Denial, Grants, Policy};

/// Whether an agent with `grants` may make a call that needs this much of a capability, for a caller with
/// `scope`.
///
/// # Errors
/// The denial to record, which says what to add to which file.
pub(super) fn check(
    agent: &AgentId,
    needs: &Policy,
    grants: &Grants,
    scope: &CapabilityScope,
) -> Result<(), Denial> {
    let capability = needs.capability();
    let granted = grants.policy(capability);
    let key_to_add = match granted {
        None => format!("[agents.{agent}.grants] {capability} = {}", Policy::whole(capability)),
        Some(granted) if !granted.covers(needs) => {
            format!("[agents.{agent}.grants] {capability} = {}", granted.with(needs))
        }
        Some(_) if !scope.allows(capability) => format!("[[auth.keys]] capabilities: \"{capability}\""),
        Some(_) => return Ok(()),
    };
    Err(Denial { capability, key_to_add })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::system::{Figure, SystemPolicy};
    use crate::domain::{Capability, Grant};

    const SYSTEM: Capability = Capability::System;

    fn figures(figures: &[Figure]) -> Policy {
        Policy::System(SystemPolicy::of(figures.iter().copied()).expect("at least one"))
    }

    #[test]
    fn a_call_needs_the_agents_grant_of_it_and_the_keys_scope() {
        let agent = AgentId::parse("a").expect("an id");
        let only = CapabilityScope::Only([SYSTEM].into());
        let none = CapabilityScope::none();
        let all = CapabilityScope::All;
        let grant = |value: &str| Some(format!("[agents.a.grants] system = {value}"));
        let key = Some("[[auth.keys]] capabilities: \"system\"".to_owned());
        let whole = Some(Grant::Granted(Policy::whole(SYSTEM)));
        let part = Some(Grant::Granted(figures(&[Figure::Memory])));
        for (granted, scope, missing) in [
            (whole.clone(), &all, None),
            (whole.clone(), &only, None),
            (part.clone(), &all, grant(r#"{ figures = ["cpu", "memory"] }"#)),
            (part, &none, grant(r#"{ figures = ["cpu", "memory"] }"#)),
            (Some(Grant::Granted(figures(&[Figure::Cpu]))), &all, None),
            (None, &all, grant("true")),
            (None, &none, grant("true")),
            (Some(Grant::Denied), &all, grant("true")),
            (whole, &none, key),
        ] {
            let mut grants = Grants::default();
            grants.set(SYSTEM, granted);
            let denial = check(&agent, &figures(&[Figure::Cpu]), &grants, scope).err();
            assert_eq!(denial.map(|denial| denial.key_to_add), missing, "{grants:?} {scope:?}");
        }
    }
}
