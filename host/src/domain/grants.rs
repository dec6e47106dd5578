//! What an operator grants an agent: for each capability a typed policy. A capability without one is denied.
//!
//! A policy has one canonical form as JSON (`true`, or a table whose lists are sorted), which records,
//! fingerprints and pages share, and one as TOML for messages. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::capability::Capability;
use super::system::{Figure, SystemPolicy};

/// How much of one capability is granted, or is needed by one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Of `system`.
    System(SystemPolicy),
}

impl Policy {
    /// All of a capability: what `true` means.
    pub fn whole(capability: Capability) -> Self {
        match capability {
            Capability::System => Self::System(SystemPolicy::Everything),
        }
    }

    /// The capability that this is of.
    pub fn capability(&self) -> Capability {
        match self {
            Self::System(_) => Capability::System,
        }
    }

    /// Whether this is at least as wide as `other`. Policies of two capabilities cover nothing of each other.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::System(own), Self::System(other)) => own.covers(other),
        }
    }

    /// What both grant; `None` where that is nothing.
    pub fn both(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::System(own), Self::System(other)) => own.both(other).map(Self::System),
        }
    }

    /// What either grants.
    pub fn with(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::System(own), Self::System(other)) => Self::System(own.with(other)),
        }
    }

    /// Reads the canonical form; `None` where it is none of this capability.
    pub fn from_json(capability: Capability, value: &Value) -> Option<Self> {
        if *value == Value::Bool(true) {
            return Some(Self::whole(capability));
        }
        match capability {
            Capability::System => {
                let SystemTable { figures } = SystemTable::deserialize(value).ok()?;
                SystemPolicy::of(figures).map(Self::System)
            }
        }
    }

    /// The keys of its table, each with its words; `None` for all of the capability.
    fn table(&self) -> Option<Vec<(&'static str, Vec<&'static str>)>> {
        match self {
            Self::System(SystemPolicy::Everything) => None,
            Self::System(SystemPolicy::Figures(figures)) => {
                Some(vec![("figures", figures.iter().map(|figure| figure.as_str()).collect())])
            }
        }
    }
}

/// The table of a policy on `system`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct SystemTable {
    figures: Vec<Figure>,
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(table) = self.table() else { return serializer.serialize_bool(true) };
        let mut map = serializer.serialize_map(Some(table.len()))?;
        for (key, words) in table {
            map.serialize_entry(key, &words)?;
        }
        map.end()
    }
}

/// As a value in agents.toml.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(table) = self.table() else { return f.write_str("true") };
        let keys: Vec<String> = table.iter().map(|(key, words)| format!("{key} = {words:?}")).collect();
        write!(f, "{{ {} }}", keys.join(", "))
    }
}

/// The policy of one capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// `false`: it is denied, also where an operator approved it before.
    Denied,
    /// It is granted, within this policy.
    Granted(Policy),
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Denied => serializer.serialize_bool(false),
            Self::Granted(policy) => policy.serialize(serializer),
        }
    }
}

/// As a value in agents.toml.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("false"),
            Self::Granted(policy) => policy.fmt(f),
        }
    }
}

/// What operators approved of an agent, beside what its settings say.
pub type Approved = BTreeMap<Capability, Policy>;

/// What a grant looks like in JSON: for schemas alone.
#[derive(utoipa::ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "its schema is what it is for")]
enum GrantForm {
    /// All of the capability, or nothing.
    Whole(bool),
    /// A part of `system`.
    System(SystemTable),
}

/// The policy of each capability; one without a policy is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = BTreeMap<String, GrantForm>)]
pub struct Grants(BTreeMap<Capability, Grant>);

impl Grants {
    /// The policy of `capability`.
    pub fn get(&self, capability: Capability) -> Option<&Grant> {
        self.0.get(&capability)
    }

    /// How much of `capability` is granted; `None` where nothing is.
    pub fn policy(&self, capability: Capability) -> Option<&Policy> {
        match self.get(capability) {
            Some(Grant::Granted(policy)) => Some(policy),
            Some(Grant::Denied) | None => None,
        }
    }

    /// Every policy that is granted.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.0.keys().filter_map(|capability| self.policy(*capability))
    }

    /// Says this of `capability`, or nothing any more.
    pub fn set(&mut self, capability: Capability, grant: Option<Grant>) {
        match grant {
            Some(grant) => self.0.insert(capability, grant),
            None => self.0.remove(&capability),
        };
    }

    /// These, and what was approved of capabilities that have no policy: a setting counts more than an
    /// approval, `false` too.
    pub fn with_approved(&self, approved: &Approved) -> Self {
        let mut grants = self.clone();
        for (capability, policy) in approved {
            grants.0.entry(*capability).or_insert_with(|| Grant::Granted(policy.clone()));
        }
        grants
    }

    /// The capabilities of which these grant something that `other` does not. `old.wider_than(&new)` is what
    /// is withdrawn, in part or whole; `new.wider_than(&old)` is what is newly granted.
    pub fn wider_than(&self, other: &Self) -> Vec<Capability> {
        let wider = self.policies().filter(|policy| {
            let granted = other.policy(policy.capability());
            granted.is_none_or(|granted| !granted.covers(policy))
        });
        wider.map(Policy::capability).collect()
    }
}

impl FromIterator<(Capability, Grant)> for Grants {
    fn from_iter<I: IntoIterator<Item = (Capability, Grant)>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SYSTEM: Capability = Capability::System;

    fn figures(figures: &[Figure]) -> Policy {
        Policy::System(SystemPolicy::of(figures.iter().copied()).expect("at least one"))
    }

    fn granting(policy: Policy) -> Grants {
        [(policy.capability(), Grant::Granted(policy))].into_iter().collect()
    }

    fn policies() -> impl Strategy<Value = Policy> {
        let some = proptest::sample::subsequence(Figure::ALL.to_vec(), 1..=Figure::ALL.len());
        prop_oneof![
            1 => Just(Policy::whole(SYSTEM)),
            9 => some.prop_map(|some| figures(&some)),
        ]
    }

    proptest! {
        #[test]
        fn covering_agrees_with_what_both_and_either_grant(a in policies(), b in policies(), c in policies()) {
            prop_assert!(a.covers(&a) && Policy::whole(SYSTEM).covers(&a));
            if a.covers(&b) && b.covers(&a) {
                prop_assert_eq!(&a, &b);
            }
            if a.covers(&b) && b.covers(&c) {
                prop_assert!(a.covers(&c));
            }
            let either = a.with(&b);
            prop_assert!(either.covers(&a) && either.covers(&b));
            match a.both(&b) {
                Some(both) => prop_assert!(a.covers(&both) && b.covers(&both)),
                None => prop_assert!(!a.covers(&b) && !b.covers(&a)),
            }
            prop_assert_eq!(a.both(&b).as_ref() == Some(&b), a.covers(&b));
        }

        #[test]
        fn a_policy_survives_its_json_which_is_one_whatever_the_order(policy in policies()) {
            let json = serde_json::to_value(&policy).expect("JSON");
            prop_assert_eq!(Policy::from_json(SYSTEM, &json), Some(policy.clone()));
            if let Policy::System(SystemPolicy::Figures(all)) = &policy {
                let mut turned: Vec<Figure> = all.iter().copied().collect();
                turned.reverse();
                prop_assert_eq!(serde_json::to_value(figures(&turned)).expect("JSON"), json);
            }
        }
    }

    #[test]
    fn every_capability_can_be_granted_whole_and_is_written_as_true() {
        for capability in Capability::ALL {
            let whole = Policy::whole(*capability);
            assert_eq!((whole.capability(), whole.to_string().as_str()), (*capability, "true"));
            assert_eq!(serde_json::to_value(&whole).expect("JSON"), json!(true));
            assert_eq!(Policy::from_json(*capability, &json!(true)), Some(whole));
        }
    }

    #[test]
    fn a_policy_is_written_as_settings_have_it() {
        let some = figures(&[Figure::Memory, Figure::Cpu]);
        assert_eq!(some.to_string(), r#"{ figures = ["cpu", "memory"] }"#);
        assert_eq!(
            serde_json::to_value(granting(some)).expect("JSON"),
            json!({ "system": { "figures": ["cpu", "memory"] } })
        );
        assert_eq!(Grant::Denied.to_string(), "false");
        for wrong in [
            json!(false),
            json!({}),
            json!({ "figures": [] }),
            json!({ "figures": ["gpu"] }),
            json!("cpu"),
            json!({ "figures": ["cpu"], "more": 1 }),
        ] {
            assert_eq!(Policy::from_json(SYSTEM, &wrong), None, "{wrong}");
        }
    }

    #[test]
    fn settings_count_more_than_approvals() {
        let approved: Approved = [(SYSTEM, Policy::whole(SYSTEM))].into();
        let denied: Grants = [(SYSTEM, Grant::Denied)].into_iter().collect();
        let part = granting(figures(&[Figure::Cpu]));
        assert_eq!(Grants::default().with_approved(&approved).policy(SYSTEM), Some(&Policy::whole(SYSTEM)));
        assert_eq!(denied.with_approved(&approved), denied);
        assert_eq!(part.with_approved(&approved), part);
    }

    #[test]
    fn what_is_withdrawn_and_what_is_wider_is_told_by_policy() {
        let all = granting(Policy::whole(SYSTEM));
        let cpu = granting(figures(&[Figure::Cpu]));
        let load = granting(figures(&[Figure::Load]));
        let none = Grants::default();
        let denied: Grants = [(SYSTEM, Grant::Denied)].into_iter().collect();
        for (wide, narrow) in [(&all, &cpu), (&all, &none), (&cpu, &none), (&cpu, &denied)] {
            assert_eq!((wide.wider_than(narrow), narrow.wider_than(wide)), (vec![SYSTEM], vec![]));
        }
        assert_eq!((cpu.wider_than(&load), load.wider_than(&cpu)), (vec![SYSTEM], vec![SYSTEM]));
        assert_eq!(none.wider_than(&denied), []);
        assert_eq!(cpu.wider_than(&cpu), []);
    }
}
