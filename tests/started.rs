//! Tasks that are started run to their end whoever listens: what can be waited for, cancelled, kept, and
//! drained, and whose right it is by then. Through the library, as later doors will have them.

use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stockade::domain::{
    AgentId, AgentKey, AgentScope, Digest, Failure, Identity, Principal, RequestId, TaskText, TenantId,
};
use stockade::scheduler::{Caller, Keys, Outcome, Submission, Ticket};

use crate::metering::Held;
use crate::support::poll_until;

const FLEET: &str = "[agents.hostile]\ncomponent = \"<hostile>\"\nlimits.timeout = \"10m\"\n\
     [agents.narrow]\ncomponent = \"<hostile>\"\nlimits.timeout = \"10m\"\nmax_concurrent = 1\nqueue = 5\n\
     [agents.brief]\ncomponent = \"<hostile>\"\nlimits.timeout = \"100ms\"\n";

fn submission(agent: &str, query: &str) -> Submission {
    Submission {
        caller: Arc::new(Principal::operator("test")).into(),
        agent: agent.to_owned(),
        query: Some(TaskText::parse(query).expect("a task")),
        context: None,
        alone: false,
        request_id: RequestId::from_random(1),
        timeout: None,
    }
}

impl Held {
    fn start(&self, submission: Submission) -> Ticket {
        let _runtime = self.runtime.enter();
        self.host.scheduler.start(submission)
    }

    fn outcome(&self, ticket: &Ticket) -> Arc<Outcome> {
        let ended = async { tokio::time::timeout(Duration::from_secs(60), ticket.outcome()).await };
        self.runtime.block_on(ended).expect("it ends")
    }

    fn load_of(&self, agent: &str) -> stockade::scheduler::AgentLoad {
        let id = AgentId::parse(agent).expect("an id");
        self.host.scheduler.load_of(&AgentKey { tenant: TenantId::default_tenant(), id })
    }

    fn wait_for_load(&self, agent: &str, running: u32, queued: u32) {
        poll_until(&format!("{agent} runs {running} and queues {queued}"), || {
            let load = self.load_of(agent);
            ((load.running, load.queued) == (running, queued)).then_some(())
        });
    }
}

fn code(outcome: &Outcome) -> &'static str {
    outcome.result.as_ref().map_or_else(Failure::code, |_| "ok")
}

#[test]
fn a_started_task_runs_to_its_end_and_its_outcome_can_be_kept() {
    let held = Held::new(FLEET);
    drop(held.start(submission("hostile", "busy 1")));
    poll_until("it has run", || {
        let load = held.load_of("hostile");
        (load.calls == 1 && load.running == 0).then_some(())
    });
    let load = held.load_of("hostile");
    assert_eq!((load.errors, load.reserved_fuel), (0, 0));
    assert!(load.fuel > 1_000_000, "{load:?}");
    let ticket = held.start(submission("hostile", "system cpu"));
    let outcome = held.outcome(&ticket);
    assert!(outcome.guest_ran && !outcome.retryable() && code(&outcome) == "ok", "{outcome:?}");
    assert_eq!(outcome.denials.len(), 1);
    assert_eq!(ticket.outcome_now().as_deref(), Some(&*outcome));
    assert_eq!(held.load_of("hostile").fuel, load.fuel + outcome.receipt.fuel);
    let kept = serde_json::to_string(&*outcome).expect("JSON");
    assert_eq!(serde_json::from_str::<Outcome>(&kept).expect("an outcome"), *outcome);
    // Cancelling what is over changes nothing.
    ticket.cancel();
    assert_eq!(held.outcome(&ticket.clone()), outcome);
}

#[test]
fn what_is_cancelled_says_what_it_spent_and_gives_all_back() {
    let held = Held::new(FLEET);
    for query in ["sleep 600000", "busy 40"] {
        let ticket = held.start(submission("narrow", query));
        poll_until("its guest runs", || (held.load_of("narrow").running == 1).then_some(()));
        let behind = held.start(submission("narrow", "echo x"));
        held.wait_for_load("narrow", 1, 1);
        behind.cancel();
        let outcome = held.outcome(&behind);
        assert_eq!((code(&outcome), outcome.guest_ran, outcome.retryable()), ("cancelled", false, false));
        assert_eq!(outcome.receipt.fuel, 0);
        held.wait_for_load("narrow", 1, 0);
        ticket.cancel();
        let outcome = held.outcome(&ticket);
        assert_eq!((code(&outcome), outcome.retryable()), ("cancelled", false), "{outcome:?}");
        assert_eq!(outcome.agent.as_ref().map(|agent| agent.id.as_str()), Some("narrow"));
        held.wait_for_load("narrow", 0, 0);
        let load = held.load_of("narrow");
        assert_eq!((load.reserved_fuel, load.errors), (0, 0), "cancelling is no error of the agent's");
    }
    let asleep = held.start(submission("hostile", "sleep 600000"));
    poll_until("it is asleep", || {
        // What it may spend is reserved until it is known what it has spent.
        (held.load_of("hostile").reserved_fuel > 0).then_some(())
    });
    drop(
        held.runtime
            .block_on(async { tokio::time::timeout(Duration::from_millis(50), asleep.outcome()).await }),
    );
    asleep.cancel();
    let outcome = held.outcome(&asleep);
    assert!(outcome.guest_ran && outcome.receipt.fuel > 0, "{outcome:?}");
    held.wait_for_load("hostile", 0, 0);
    assert_eq!(held.load_of("hostile").fuel, outcome.receipt.fuel);
}

#[test]
fn a_task_has_the_time_that_it_was_given_and_never_more_than_its_agent_allows() {
    let held = Held::new(FLEET);
    let short = Some(Duration::from_millis(100));
    let ticket = held.start(Submission { timeout: short, ..submission("hostile", "sleep 600000") });
    let outcome = held.outcome(&ticket);
    let failure = outcome.result.as_ref().expect_err("its time is up");
    assert_eq!(failure.to_string(), "the task's time of 100 ms was up while the agent ran");
    assert!(outcome.retryable() && outcome.guest_ran, "{outcome:?}");
    let long = Some(Duration::from_secs(3_600));
    let ticket = held.start(Submission { timeout: long, ..submission("brief", "sleep 600000") });
    assert_eq!(code(&held.outcome(&ticket)), "deadline_exceeded");
    // The same holds for a task that is awaited.
    let awaited = Submission { timeout: short, ..submission("hostile", "sleep 600000") };
    assert_eq!(code(&held.runtime.block_on(held.host.scheduler.submit(awaited))), "deadline_exceeded");
}

/// The keys of a test.
struct Known(Mutex<Option<Principal>>);

impl Keys for Known {
    fn holding(&self, key: Option<&Digest>) -> Option<Arc<Principal>> {
        let known = self.0.lock().expect("nobody failed here");
        known.clone().filter(|known| known.key.as_ref() == key).map(Arc::new)
    }
}

#[test]
fn who_asked_is_looked_at_again_as_the_task_runs() {
    let held = Held::new(FLEET);
    let identity = Identity {
        tenant: TenantId::default_tenant(),
        key_id: "own".into(),
        key: Some(Digest::of(b"a key")),
    };
    let kept = serde_json::to_string(&identity).expect("JSON");
    assert_eq!(serde_json::from_str::<Identity>(&kept).expect("an identity"), identity);
    let caller = || Caller::from(identity.clone());
    let ask =
        |agent: &str, query: &str| held.start(Submission { caller: caller(), ..submission(agent, query) });
    // Nobody knows any keys yet.
    assert_eq!(code(&held.outcome(&ask("hostile", "echo x"))), "unauthorized");
    let own = Principal { key: identity.key, ..Principal::operator("own") };
    let keys = Arc::new(Known(Mutex::new(Some(own.clone()))));
    held.host.scheduler.follow_keys(keys.clone());
    let set = |principal: Option<Principal>| *keys.0.lock().expect("nobody failed here") = principal;
    assert_eq!(code(&held.outcome(&ask("hostile", "echo x"))), "ok");
    let scope = |pattern| AgentScope::parse([pattern]).expect("a scope");
    let lost = Principal { agent_scope: scope("another"), ..own.clone() };
    let moved = Principal { tenant: TenantId::parse("acme").expect("a tenant"), ..own.clone() };
    for (now, expected) in [(None, "unauthorized"), (Some(lost), "forbidden"), (Some(moved), "unauthorized")]
    {
        set(Some(own.clone()));
        let before = ask("narrow", "sleep 600000");
        held.wait_for_load("narrow", 1, 0);
        let waiting = ask("narrow", "echo x");
        held.wait_for_load("narrow", 1, 1);
        set(now);
        before.cancel();
        assert_eq!(code(&held.outcome(&before)), "cancelled", "what runs goes on");
        let outcome = held.outcome(&waiting);
        assert_eq!((code(&outcome), outcome.guest_ran, outcome.retryable()), (expected, false, false));
        // And so is one that comes now.
        assert_eq!(code(&held.outcome(&ask("hostile", "echo x"))), expected);
        held.wait_for_load("narrow", 0, 0);
    }
}

#[test]
fn what_was_started_is_finished_or_cancelled_before_the_host_goes() {
    let held = Held::new(FLEET);
    let soon = held.start(submission("hostile", "sleep 300"));
    held.wait_for_load("hostile", 1, 0);
    let scheduler = held.host.scheduler.clone();
    let far = Instant::now() + Duration::from_secs(600);
    held.runtime.block_on(scheduler.finish(far, pending()));
    assert_eq!(soon.outcome_now().map(|outcome| code(&outcome)), Some("ok"));
    let outcome = held.outcome(&held.start(submission("hostile", "echo x")));
    assert_eq!((code(&outcome), outcome.guest_ran, outcome.retryable()), ("draining", false, true));
    for at_once in [false, true] {
        let held = Held::new(FLEET);
        let endless = held.start(submission("hostile", "sleep 600000"));
        let queued = [0, 1].map(|_| held.start(submission("narrow", "sleep 600000")));
        held.wait_for_load("hostile", 1, 0);
        held.wait_for_load("narrow", 1, 1);
        let scheduler = held.host.scheduler.clone();
        match at_once {
            true => held.runtime.block_on(scheduler.finish(far, ready(()))),
            false => held.runtime.block_on(scheduler.finish(Instant::now(), pending())),
        }
        for ticket in [&endless, &queued[0], &queued[1]] {
            assert_eq!(ticket.outcome_now().map(|outcome| code(&outcome)), Some("cancelled"));
        }
        assert_eq!((held.load_of("hostile").running, held.load_of("narrow").running), (0, 0));
    }
}
