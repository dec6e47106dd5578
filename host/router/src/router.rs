//! The router itself: build, change, decide, explain.
//!
//! Owns an immutable index behind an `Arc`.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::candidates::Candidates;
use crate::explain::{self, Explanation};
use crate::index::Index;
use crate::profile::Texts;
use crate::query::Query;
use crate::related::Related;
use crate::score::{self, Learning, Scores};
use crate::text::Analyzer;
use crate::{Agent, Change, Choice, Decision, Settings, Verdict, confidence};

/// How many of the best candidates confidence looks at.
const COMPARED: usize = 3;

/// How many changes are made together, so that what is needed only to make them stays small.
const TOGETHER: usize = 2048;

/// Decides which agent a task is for. Immutable; a clone is one reference count.
#[derive(Clone)]
pub struct Router {
    settings: Arc<Settings>,
    analyzer: Analyzer,
    related: Arc<Related>,
    everyone: Candidates,
}

impl Router {
    /// A router over `agents`. Of several with one id the last stays. The order matters for nothing else.
    pub fn build(settings: Settings, agents: impl IntoIterator<Item = Agent>) -> Router {
        let analyzer = Analyzer::new(settings.language);
        let related = Related::new(settings.language, &analyzer);
        let mut next = Next { index: Index::default(), analyzer: analyzer.knowing(crate::related::words()) };
        let mut agents = agents.into_iter().peekable();
        while agents.peek().is_some() {
            let changes: Vec<Change> = agents.by_ref().take(TOGETHER).map(Change::Put).collect();
            next = next.change(&changes);
        }
        Router {
            related: Arc::new(related),
            settings: Arc::new(settings),
            analyzer: next.analyzer,
            everyone: Candidates::all(Arc::new(next.index)),
        }
    }

    /// The next router: this one with `changes` made in order. Shares everything that stayed. Many changes
    /// at once cost far less than the same ones one by one.
    pub fn apply(&self, changes: &[Change]) -> Router {
        let mut next = Next { index: Index::clone(&self.everyone.index), analyzer: self.analyzer.clone() };
        for together in changes.chunks(TOGETHER) {
            next = next.change(together);
        }
        Router {
            settings: Arc::clone(&self.settings),
            analyzer: next.analyzer,
            related: Arc::clone(&self.related),
            everyone: Candidates::all(Arc::new(next.index)),
        }
    }

    /// What it was built with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many agents it knows.
    pub fn len(&self) -> usize {
        self.everyone.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it knows an agent with this id.
    pub fn contains(&self, id: &str) -> bool {
        self.everyone.contains(id)
    }

    /// Every agent.
    pub fn all(&self) -> Candidates {
        self.everyone.clone()
    }

    /// The agents whose id is `allowed`. Asks about each agent once: keep the result as long as you keep
    /// this router.
    pub fn candidates(&self, allowed: impl Fn(&str) -> bool) -> Candidates {
        let agents = self.everyone.index.roster().agents();
        let agents = agents.filter(|(_, member)| allowed(&member.id)).map(|(agent, _)| agent);
        Candidates::of_agents(Arc::clone(&self.everyone.index), agents)
    }

    /// The agents with these ids, of those it knows. Cheap for a short list.
    pub fn candidates_named<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Candidates {
        let agents = ids.into_iter().filter_map(|id| self.everyone.index.roster().agent(id));
        Candidates::of_agents(Arc::clone(&self.everyone.index), agents)
    }

    /// Which of `candidates` the task is for.
    pub fn decide(&self, task: &str, candidates: &Candidates) -> Decision {
        let query = Query::new(task, &self.analyzer, &self.related, candidates);
        // With learning allowed there always are some.
        let scores = score::rank(&query, candidates, self.kept(), Learning::Allowed).unwrap_or_default();
        self.decision(&query, &scores, candidates)
    }

    /// The same decision, if it can be made at once. `None` where examples have to be learned from first: some
    /// milliseconds for each candidate that the task comes near and none came near before. Call
    /// [`Router::decide`] then, where nobody else is kept waiting.
    pub fn decide_at_once(&self, task: &str, candidates: &Candidates) -> Option<Decision> {
        let query = Query::new(task, &self.analyzer, &self.related, candidates);
        let scores = score::rank(&query, candidates, self.kept(), Learning::No)?;
        Some(self.decision(&query, &scores, candidates))
    }

    /// The same decision, with its reasons.
    pub fn explain(&self, task: &str, candidates: &Candidates) -> Explanation {
        let query = Query::new(task, &self.analyzer, &self.related, candidates);
        let scores = score::rank(&query, candidates, self.kept(), Learning::Allowed).unwrap_or_default();
        let decision = self.decision(&query, &scores, candidates);
        explain::explain(decision, &query, &scores, candidates, &self.settings)
    }

    fn kept(&self) -> usize {
        (self.settings.alternatives + 2).max(COMPARED)
    }

    fn decision(&self, query: &Query<'_>, scores: &Scores<'_>, candidates: &Candidates) -> Decision {
        let confidences = confidence::of(query, scores, candidates.smallness());
        let ranked: Vec<Choice> = scores
            .best
            .iter()
            .zip(confidences)
            .take((self.settings.alternatives + 1).max(2))
            .filter_map(|(scored, confidence)| {
                let profile = candidates.index.profile(scored.card)?;
                let agent = candidates.index.roster().id(scored.agent).to_owned();
                Some(Choice { agent, confidence, matched_keywords: explain::keywords(profile, query) })
            })
            .collect();
        let verdict = match ranked.as_slice() {
            [] => Verdict::NoMatch,
            [best, ..] if best.confidence < self.settings.threshold => Verdict::NoMatch,
            [best, next, ..] if best.confidence - next.confidence <= self.settings.margin => {
                Verdict::Ambiguous
            }
            _ => Verdict::Routed,
        };
        Decision { verdict, ranked }
    }
}

/// What a router in the making consists of.
struct Next {
    index: Index,
    analyzer: Analyzer,
}

impl Next {
    /// With some changes made, of several to one agent the last.
    fn change(mut self, changes: &[Change]) -> Self {
        let mut seen: FxHashSet<&str> = FxHashSet::default();
        let (mut removed, mut put) = (Vec::new(), Vec::new());
        for change in changes.iter().rev() {
            match change {
                Change::Put(agent) if seen.insert(&agent.id) => {
                    put.push((agent.id.as_str(), Texts::of(agent)));
                }
                Change::Remove(id) if seen.insert(id) => removed.push(id.as_str()),
                _ => {}
            }
        }
        let new = self.index.change(&removed, put, &self.analyzer);
        let analyzer = self.analyzer.knowing(new.iter().flat_map(|profile| profile.spellings()));
        Self { index: self.index, analyzer }
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("settings", &self.settings)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
