//! Who there is: agents by id, and the cards they share.
//!
//! Agents whose texts are the same share one card, which is analysed, indexed, scored and learned from once: a
//! thousand copies cost little more than one. Owns both lists. Knows nothing of keys or scores.

use std::sync::Arc;

use crate::profile::{Profile, Texts};
use crate::store::{Chunked, List, Sharded};
use crate::text::{Kind, key};

/// How many shards the agents by id and the cards by content are kept in.
const SHARDS: usize = 256;

/// An agent: its id and where its card lies.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) id: Arc<str>,
    pub(crate) card: u32,
}

/// What some agents have in common.
#[derive(Clone)]
pub(crate) struct Card {
    pub(crate) profile: Arc<Profile>,
    /// Where its agents lie, by their ids; at least one.
    pub(crate) agents: Vec<u32>,
}

/// What is counted over agents.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Examples of all cards.
    pub(crate) examples: usize,
    /// Documents of all cards.
    pub(crate) documents: usize,
    /// Triggers of all agents.
    pub(crate) triggers: usize,
    /// Triggers of several words of all agents.
    pub(crate) phrases: usize,
}

impl Totals {
    /// Adds a card that this many agents share.
    pub(crate) fn add(&mut self, profile: &Profile, agents: usize) {
        self.examples += profile.examples();
        self.documents += profile.documents().len();
        self.triggers += agents * profile.triggers.len();
        self.phrases += agents * profile.phrases;
    }

    fn subtract(&mut self, profile: &Profile, agents: usize) {
        self.examples -= profile.examples();
        self.documents -= profile.documents().len();
        self.triggers -= agents * profile.triggers.len();
        self.phrases -= agents * profile.phrases;
    }
}

/// Agents and cards.
#[derive(Clone)]
pub(crate) struct Roster {
    agents: Chunked<Member>,
    ids: Sharded<List<u32>>,
    cards: Chunked<Card>,
    contents: Sharded<List<u32>>,
    len: usize,
    /// How many agents there are beyond the first of each card.
    shared: usize,
    totals: Totals,
}

impl Default for Roster {
    fn default() -> Self {
        Self {
            agents: Chunked::default(),
            ids: Sharded::new(SHARDS),
            cards: Chunked::default(),
            contents: Sharded::new(SHARDS),
            len: 0,
            shared: 0,
            totals: Totals::default(),
        }
    }
}

impl Roster {
    /// How many agents there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether some agents share a card.
    pub(crate) fn shares(&self) -> bool {
        self.shared > 0
    }

    /// What is counted over all agents.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// One more than the highest place of a card.
    pub(crate) fn places(&self) -> usize {
        self.cards.places()
    }

    /// Where the agent with this id lies.
    pub(crate) fn agent(&self, id: &str) -> Option<u32> {
        self.ids.list(key(Kind::Id, id)).iter().copied().find(|agent| self.id(*agent) == id)
    }

    /// Every agent with its place.
    pub(crate) fn agents(&self) -> impl Iterator<Item = (u32, &Member)> {
        self.agents.iter()
    }

    /// The agent in a place.
    pub(crate) fn member(&self, agent: u32) -> Option<&Member> {
        self.agents.get(agent)
    }

    /// The id of the agent in a place.
    pub(crate) fn id(&self, agent: u32) -> &str {
        self.agents.get(agent).map_or("", |member| &member.id)
    }

    /// The card in a place.
    pub(crate) fn card(&self, card: u32) -> Option<&Card> {
        self.cards.get(card)
    }

    /// Every card with its place.
    pub(crate) fn cards(&self) -> impl Iterator<Item = (u32, &Card)> {
        self.cards.iter()
    }

    /// The card that says just this.
    pub(crate) fn like(&self, texts: &Texts) -> Option<u32> {
        let same = |card: &u32| self.cards.get(*card).is_some_and(|card| card.profile.texts == *texts);
        self.contents.list(texts.key()).iter().copied().find(same)
    }

    /// Takes an agent away from its card. The card, too, where nobody else has it: then it is told.
    pub(crate) fn leave(&mut self, agent: u32) -> Option<(u32, Arc<Profile>)> {
        let at = self.agents.get(agent)?.card;
        let place = self.place(at, agent);
        let card = self.cards.get_mut(at)?;
        if card.agents.len() > 1 {
            card.agents.remove(place.ok()?);
            self.totals.triggers -= card.profile.triggers.len();
            self.totals.phrases -= card.profile.phrases;
            self.shared -= 1;
            return None;
        }
        let card = self.cards.remove(at)?;
        self.totals.subtract(&card.profile, 1);
        let content = card.profile.texts.key();
        let rest = self.contents.list(content).iter().copied().filter(|other| *other != at).collect();
        self.contents.set_list(content, rest);
        Some((at, card.profile))
    }

    /// Forgets an agent that left its card.
    pub(crate) fn forget(&mut self, agent: u32) {
        if let Some(member) = self.agents.remove(agent) {
            let id = key(Kind::Id, &member.id);
            let rest = self.ids.list(id).iter().copied().filter(|other| *other != agent).collect();
            self.ids.set_list(id, rest);
            self.len -= 1;
        }
    }

    /// Gives an agent, known or not, a card that there is. It must have left its last one.
    pub(crate) fn join(&mut self, id: &str, agent: Option<u32>, at: u32) {
        let agent = self.seat(id, agent, at);
        let place = self.place(at, agent).unwrap_or_else(|place| place);
        if let Some(card) = self.cards.get_mut(at) {
            card.agents.insert(place, agent);
            self.totals.triggers += card.profile.triggers.len();
            self.totals.phrases += card.profile.phrases;
            self.shared += 1;
        }
    }

    /// Gives an agent, known or not, a card of its own, and says where that lies. It must have left its last one.
    pub(crate) fn found(&mut self, id: &str, agent: Option<u32>, profile: Arc<Profile>) -> u32 {
        self.totals.add(&profile, 1);
        let content = profile.texts.key();
        let at = self.cards.add(Card { profile, agents: Vec::new() });
        let agent = self.seat(id, agent, at);
        if let Some(card) = self.cards.get_mut(at) {
            card.agents = vec![agent];
        }
        let mut same = self.contents.list(content).to_vec();
        same.push(at);
        self.contents.set_list(content, same);
        at
    }

    fn seat(&mut self, id: &str, agent: Option<u32>, card: u32) -> u32 {
        if let Some(agent) = agent {
            if let Some(member) = self.agents.get_mut(agent) {
                member.card = card;
            }
            return agent;
        }
        let agent = self.agents.add(Member { id: id.into(), card });
        let mut same = self.ids.list(key(Kind::Id, id)).to_vec();
        same.push(agent);
        self.ids.set_list(key(Kind::Id, id), same);
        self.len += 1;
        agent
    }

    /// Where an agent stands among those of a card, or would.
    fn place(&self, card: u32, agent: u32) -> Result<usize, usize> {
        let id = self.id(agent);
        let agents = self.cards.get(card).map_or(&[][..], |card| &card.agents);
        agents.binary_search_by(|other| self.id(*other).cmp(id))
    }
}
