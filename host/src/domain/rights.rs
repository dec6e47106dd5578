//! Who may do what: the one place that decides, for every door and every room. Pure.
//!
//! A decision needs no more than the caller, what it wants to do, and the agent's key and category. The role
//! is looked at before the agent, so that a refusal for want of a role tells nothing of any agent; outside
//! of a caller's scope an agent that exists and one that does not get the same answer, and so do an agent
//! of another tenant and none.

use super::{AgentKey, Capability, Principal, Role};

/// What can be done with one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// See it in lists, and its page.
    See,
    /// Give it a task.
    Call,
    /// See all of it: paths, reasons, who changed it, what waits and what served before.
    Inspect,
    /// Replace it, remove it, let a version in or take one back.
    Change,
}

impl Action {
    /// The least role that may do this.
    pub fn needs(self) -> Role {
        match self {
            Self::See | Self::Call => Role::Call,
            Self::Inspect | Self::Change => Role::Admin,
        }
    }
}

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may be done.
    Allowed,
    /// The caller may know that there is no such agent.
    Absent,
    /// It lies outside of the caller's scope: whether it exists is not told.
    Hidden,
    /// The agent's place is in its scope, but others trust the category: the scope has to name that, too.
    Claimed,
    /// The agent would have a capability that the caller's key does not lend.
    NotLent,
    /// The caller's key holds no longer.
    Withdrawn,
    /// The caller's role is not enough, whatever the agent: this one is needed.
    Forbidden(Role),
}

/// Decides about an agent; `category` is `None` where there is no agent of this key. An agent of another
/// tenant is not there.
pub fn of_agent(caller: &Principal, action: Action, key: &AgentKey, category: Option<&str>) -> Decision {
    if let Err(role) = role(caller, action.needs()) {
        return Decision::Forbidden(role);
    }
    let category = category.filter(|_| caller.tenant == key.tenant);
    match (category, caller.agent_scope.allows(&key.id, category.unwrap_or_default())) {
        (Some(_), true) => Decision::Allowed,
        (None, true) => Decision::Absent,
        (_, false) => Decision::Hidden,
    }
}

/// Decides whether the caller may put the agent `key` into `category`; `claimed` says whether another
/// key's scope names that category.
///
/// Whoever puts an agent into such a category gives it to the callers who trust that category: it takes a
/// scope that names the category itself, or every agent.
pub fn of_place(caller: &Principal, key: &AgentKey, category: &str, claimed: bool) -> Decision {
    if let Err(role) = role(caller, Role::Admin) {
        return Decision::Forbidden(role);
    }
    let scope = &caller.agent_scope;
    let trusted = !claimed || scope.is_all() || scope.names_category(category);
    let reached = caller.tenant == key.tenant && scope.allows(&key.id, category);
    match (reached, trusted) {
        (false, _) => Decision::Hidden,
        // A scope that does not name the category has the agent by its id.
        (true, false) => Decision::Claimed,
        (true, true) => Decision::Allowed,
    }
}

/// Decides whether the caller may have an agent granted these capabilities: nobody gives what its own key does
/// not lend. The agent would use them for every caller whose key lends more.
pub fn of_grants(caller: &Principal, capabilities: impl IntoIterator<Item = Capability>) -> Decision {
    if let Err(role) = role(caller, Role::Admin) {
        return Decision::Forbidden(role);
    }
    let lent = capabilities.into_iter().all(|capability| caller.capability_scope.allows(capability));
    if lent { Decision::Allowed } else { Decision::NotLent }
}

/// Decides whether the caller may add the agent `key`, which does not exist yet, in some category.
pub fn of_new_place(caller: &Principal, key: &AgentKey) -> Decision {
    if let Err(role) = role(caller, Role::Admin) {
        return Decision::Forbidden(role);
    }
    let scope = &caller.agent_scope;
    let reached = caller.tenant == key.tenant && (scope.allows(&key.id, "") || scope.names_categories());
    if reached { Decision::Allowed } else { Decision::Hidden }
}

/// Decides about the host itself: its figures, its tenants, stopping everything.
pub fn of_host(caller: &Principal) -> Decision {
    role(caller, Role::Operator).map_or_else(Decision::Forbidden, |()| Decision::Allowed)
}

/// Decides whether the caller may change agents at all, before it is known which.
pub fn of_agents(caller: &Principal) -> Decision {
    role(caller, Role::Admin).map_or_else(Decision::Forbidden, |()| Decision::Allowed)
}

fn role(caller: &Principal, needs: Role) -> Result<(), Role> {
    if caller.role >= needs { Ok(()) } else { Err(needs) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AgentId, AgentScope, CapabilityScope, TenantId};

    const ROLES: [Role; 3] = [Role::Call, Role::Admin, Role::Operator];

    fn caller(role: Role, scope: &[&str]) -> Principal {
        let agent_scope = AgentScope::parse(scope.iter().copied()).expect("a scope");
        Principal { role, agent_scope, ..Principal::operator("test") }
    }

    fn key(text: &str) -> AgentKey {
        AgentKey { tenant: TenantId::default_tenant(), id: AgentId::parse(text).expect("an id") }
    }

    /// Every action, every role, and every place that an agent can have.
    #[test]
    fn each_action_needs_its_role_and_then_the_scope() {
        for (action, least) in [
            (Action::See, Role::Call),
            (Action::Call, Role::Call),
            (Action::Inspect, Role::Admin),
            (Action::Change, Role::Admin),
        ] {
            assert_eq!(action.needs(), least);
            for role in ROLES {
                let decide = |scope: &[&str], agent: &str, category| {
                    of_agent(&caller(role, scope), action, &key(agent), category)
                };
                for (scope, agent, category, decision) in [
                    (&["*"][..], "a", Some("x"), Decision::Allowed),
                    (&["*"], "a", None, Decision::Absent),
                    (&["team-*"], "team-1", Some("x"), Decision::Allowed),
                    (&["team-*"], "team-1", None, Decision::Absent),
                    (&["team-*"], "other", Some("x"), Decision::Hidden),
                    (&["team-*"], "other", None, Decision::Hidden),
                    (&["category:x"], "a", Some("x"), Decision::Allowed),
                    (&["category:x"], "a", Some("y"), Decision::Hidden),
                    (&["category:x"], "a", None, Decision::Hidden),
                    (&[], "a", Some(""), Decision::Hidden),
                    (&[], "a", None, Decision::Hidden),
                ] {
                    let expected = if role < least { Decision::Forbidden(least) } else { decision };
                    assert_eq!(
                        decide(scope, agent, category),
                        expected,
                        "{action:?} {role:?} {scope:?} {agent}"
                    );
                }
            }
        }
    }

    /// Whatever its role and its scope.
    #[test]
    fn an_agent_of_another_tenant_is_as_one_that_is_not_there() {
        for role in ROLES {
            for scope in [&["*"][..], &["team-*"], &["category:x"], &[]] {
                let own = caller(role, scope);
                let other = Principal { tenant: TenantId::parse("acme").expect("a tenant"), ..own.clone() };
                let key = key("team-1");
                for action in [Action::See, Action::Call, Action::Inspect, Action::Change] {
                    let there = of_agent(&other, action, &key, Some("x"));
                    assert_eq!(there, of_agent(&own, action, &key, None), "{action:?} {role:?} {scope:?}");
                    assert_ne!(there, Decision::Allowed);
                }
                assert_ne!(of_place(&other, &key, "x", false), Decision::Allowed);
                assert_ne!(of_new_place(&other, &key), Decision::Allowed);
            }
        }
    }

    #[test]
    fn nobody_grants_what_its_own_key_does_not_lend() {
        const SYSTEM: Capability = Capability::System;
        let grants = |role: Role, lends: CapabilityScope, capabilities: &[Capability]| {
            let caller = Principal { capability_scope: lends, ..caller(role, &["*"]) };
            of_grants(&caller, capabilities.iter().copied())
        };
        for role in [Role::Admin, Role::Operator] {
            assert_eq!(grants(role, CapabilityScope::All, Capability::ALL), Decision::Allowed);
            assert_eq!(grants(role, CapabilityScope::Only([SYSTEM].into()), &[SYSTEM]), Decision::Allowed);
            assert_eq!(grants(role, CapabilityScope::none(), &[SYSTEM]), Decision::NotLent);
            assert_eq!(grants(role, CapabilityScope::none(), &[]), Decision::Allowed);
        }
        let caller_role = grants(Role::Call, CapabilityScope::All, &[]);
        assert_eq!(caller_role, Decision::Forbidden(Role::Admin));
    }

    #[test]
    fn only_an_operator_has_the_host_whatever_its_scope() {
        for scope in [&["*"][..], &["a"], &[]] {
            assert_eq!(of_host(&caller(Role::Call, scope)), Decision::Forbidden(Role::Operator));
            assert_eq!(of_host(&caller(Role::Admin, scope)), Decision::Forbidden(Role::Operator));
            assert_eq!(of_host(&caller(Role::Operator, scope)), Decision::Allowed);
            assert_eq!(of_agents(&caller(Role::Call, scope)), Decision::Forbidden(Role::Admin));
            assert_eq!(of_agents(&caller(Role::Admin, scope)), Decision::Allowed);
        }
    }

    #[test]
    fn an_agent_is_put_only_where_the_scope_reaches() {
        let at = |scope: &[&str], agent: &str, category: &str, claimed: bool| {
            of_place(&caller(Role::Admin, scope), &key(agent), category, claimed) == Decision::Allowed
        };
        assert!(at(&["*"], "a", "finance", true));
        assert!(at(&["team-*"], "team-1", "finance", false));
        let claimed = of_place(&caller(Role::Admin, &["team-*"]), &key("team-1"), "finance", true);
        assert_eq!(claimed, Decision::Claimed, "others trust that category");
        assert!(at(&["team-*", "category:finance"], "team-1", "finance", true));
        assert!(!at(&["team-*"], "other", "x", false));
        assert!(at(&["category:finance"], "any", "finance", true));
        assert!(!at(&["category:finance"], "any", "x", false));
        let caller_role = of_place(&caller(Role::Call, &["*"]), &key("a"), "x", false);
        assert_eq!(caller_role, Decision::Forbidden(Role::Admin));
        let new = |scope: &[&str], agent: &str| of_new_place(&caller(Role::Admin, scope), &key(agent));
        assert_eq!(new(&["team-*"], "team-1"), Decision::Allowed);
        assert_eq!(new(&["team-*"], "other"), Decision::Hidden);
        assert_eq!(new(&["team-*", "category:x"], "other"), Decision::Allowed);
    }
}
