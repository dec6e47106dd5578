//! What is kept of agents that are no longer there, for how long, and how much of it.
//!
//! Owns those records in memory. An agent of agents.toml that goes is kept whole for thirty days, so
//! that one which comes back finds its approvals, its history and what was taken back; then its
//! generation alone is kept. Everything is bounded: past the bounds, the oldest goes first.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::record::Record;
use crate::domain::{AgentKey, Digest};

/// How long an agent of agents.toml that is gone is kept whole.
const KEPT_WHOLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The most that are kept whole: their components lie in the data folder.
const MOST_WHOLE: usize = 1_000;
/// The most of which anything is kept.
const MOST: usize = 20_000;

/// Records of agents that are not there.
#[derive(Debug, Default)]
pub(super) struct Retired {
    records: BTreeMap<AgentKey, Record>,
    /// The highest generation that was forgotten: who comes back after that counts from here.
    floor: u64,
}

/// What a sweep would change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sweep {
    /// Of these only the generation is kept.
    pub(super) reduced: BTreeMap<AgentKey, Record>,
    /// Of these nothing.
    pub(super) forgotten: Vec<AgentKey>,
    /// What the floor is then.
    pub(super) floor: u64,
}

impl Sweep {
    /// The agents that it is about.
    pub(super) fn keys(&self) -> impl Iterator<Item = &AgentKey> {
        self.reduced.keys().chain(&self.forgotten)
    }

    /// Leaves out the agents that `wanted` does not name.
    pub(super) fn retain(&mut self, wanted: impl Fn(&AgentKey) -> bool) {
        self.reduced.retain(|key, _| wanted(key));
        self.forgotten.retain(wanted);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reduced.is_empty() && self.forgotten.is_empty()
    }
}

impl Retired {
    pub(super) fn new(floor: u64) -> Self {
        Self { records: BTreeMap::new(), floor }
    }

    pub(super) fn insert(&mut self, key: AgentKey, record: Record) {
        self.records.insert(key, record);
    }

    /// What an agent of agents.toml finds.
    pub(super) fn of_the_file(&self, key: &AgentKey) -> Record {
        self.records.get(key).map_or_else(|| self.unknown(), Record::returned)
    }

    /// What an agent finds that is registered: nothing was approved for it.
    pub(super) fn registered(&self, key: &AgentKey) -> Record {
        self.records.get(key).map_or_else(|| self.unknown(), Record::bare)
    }

    fn unknown(&self) -> Record {
        Record { generation: self.floor, ..Record::default() }
    }

    /// An agent came back: its entry remembers it from now on.
    pub(super) fn remove(&mut self, key: &AgentKey) {
        self.records.remove(key);
    }

    /// The components that they may need if they come back.
    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> + '_ {
        self.records.values().flat_map(Record::digests)
    }

    /// What is to go at `now`. A record without a time of removal is not this room's to sweep.
    pub(super) fn due(&self, now: SystemTime) -> Sweep {
        let dated = self.records.iter().filter_map(|(key, record)| Some((record.removed?, key, record)));
        let mut dated: Vec<_> = dated.collect();
        dated.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let mut sweep = Sweep { floor: self.floor, ..Sweep::default() };
        let mut whole = 0;
        for (place, (removed, key, record)) in dated.into_iter().enumerate() {
            if place >= MOST {
                sweep.floor = sweep.floor.max(record.generation);
                sweep.forgotten.push(key.clone());
                continue;
            }
            let bare = Record { removed: Some(removed), ..record.bare() };
            if *record == bare {
                continue;
            }
            whole += 1;
            let old = now.duration_since(removed).is_ok_and(|age| age >= KEPT_WHOLE);
            if old || whole > MOST_WHOLE {
                sweep.reduced.insert(key.clone(), bare);
            }
        }
        sweep
    }

    /// Makes what was written down so.
    pub(super) fn apply(&mut self, sweep: Sweep) {
        self.records.extend(sweep.reduced);
        for key in &sweep.forgotten {
            self.records.remove(key);
        }
        self.floor = sweep.floor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AgentId, Capability, Policy, TenantId};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn id(number: usize) -> AgentKey {
        of("default", number)
    }

    fn of(tenant: &str, number: usize) -> AgentKey {
        let tenant = TenantId::parse(tenant).expect("a tenant");
        AgentKey { tenant, id: AgentId::parse(&format!("a{number}")).expect("an id") }
    }

    fn at(days: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * days
    }

    fn approved(generation: u64) -> Record {
        Record {
            generation,
            approved: [(Capability::System, Policy::whole(Capability::System))].into(),
            ..Record::default()
        }
    }

    fn swept(retired: &mut Retired, now: SystemTime) -> Sweep {
        let sweep = retired.due(now);
        let same = Sweep { reduced: sweep.reduced.clone(), forgotten: sweep.forgotten.clone(), ..sweep };
        retired.apply(sweep);
        same
    }

    #[test]
    fn an_agent_of_the_file_finds_everything_for_thirty_days_and_then_its_generation() {
        let mut retired = Retired::new(0);
        retired.insert(id(1), approved(7).removed(at(0)));
        assert!(swept(&mut retired, at(29)).is_empty());
        assert_eq!(retired.of_the_file(&id(1)), approved(7));
        assert_eq!(retired.registered(&id(1)), approved(7).bare(), "who registers is somebody else");
        assert_eq!(swept(&mut retired, at(30)).reduced.len(), 1);
        assert_eq!(retired.of_the_file(&id(1)), Record { generation: 7, ..Record::default() });
        assert!(swept(&mut retired, at(31)).is_empty(), "once is enough");
    }

    #[test]
    fn two_tenants_agents_of_one_id_find_each_their_own() {
        let mut retired = Retired::new(0);
        retired.insert(id(1), approved(7).removed(at(0)));
        retired.insert(of("acme", 1), Record { generation: 2, ..Record::default() }.removed(at(20)));
        assert_eq!(retired.of_the_file(&of("acme", 1)).generation, 2);
        assert_eq!(retired.of_the_file(&of("other", 1)), Record::default());
        assert_eq!(swept(&mut retired, at(30)).reduced.into_keys().collect::<Vec<_>>(), [id(1)]);
        retired.remove(&of("acme", 1));
        assert_eq!(retired.of_the_file(&of("acme", 1)), Record::default());
        assert_eq!(retired.of_the_file(&id(1)).generation, 7);
    }

    #[test]
    fn of_a_registered_agent_the_generation_alone_is_kept() {
        let registered = Record { registered: Some("{}".to_owned()), ..approved(3) };
        let mut retired = Retired::new(0);
        retired.insert(id(1), registered.removed(at(0)));
        assert_eq!(retired.of_the_file(&id(1)), Record { generation: 3, ..Record::default() });
    }

    #[test]
    fn past_the_bounds_the_oldest_goes_and_no_generation_is_given_twice() {
        let mut retired = Retired::new(2);
        for number in 0..MOST + 5 {
            let removed = at(0) + Duration::from_secs(number as u64);
            retired.insert(id(number), approved(number as u64 + 10).removed(removed));
        }
        let sweep = swept(&mut retired, at(1));
        assert_eq!((sweep.forgotten.len(), sweep.reduced.len(), sweep.floor), (5, MOST - MOST_WHOLE, 14));
        assert_eq!(retired.of_the_file(&id(4)).generation, 14, "it had generations up to 14 before");
        assert_eq!(retired.of_the_file(&id(MOST + 9)).generation, 14);
        assert_eq!(retired.of_the_file(&id(MOST + 4)), approved(MOST as u64 + 14));
    }

    #[test]
    fn what_has_no_time_of_removal_is_left_alone() {
        let mut retired = Retired::new(0);
        retired.insert(id(1), approved(1));
        assert!(swept(&mut retired, at(9_999)).is_empty());
    }
}
