//! Who may do what: every path, every role, inside and outside of a key's scope; and what of an agent each
//! of them sees.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use stockade::api::{ROUTES, Route};
use stockade::domain::Role;
use stockade::operations::{Operation, Subject, Terms};

use crate::support::fleet::{self, digest, failing, of_category, plain, wanting};
use crate::support::{Fleet, Reply, Request, Server, root};

const CALLER: &str = "key-of-a-caller-0123456789abcdef0123";
const ADMIN: &str = "key-of-an-admin-0123456789abcdef0123";
const WIDE: &str = "key-of-a-wide-admin-0123456789abcdef";
const OPERATOR: &str = "key-of-an-operator-0123456789abcdef0";
const TREASURER: &str = "key-of-a-category-admin-0123456789ab";
const FINANCE: &str = "key-for-a-category-0123456789abcdef0";

fn key(name: &str, key: &str, role: &str, scope: &str) -> String {
    fleet::key(name, key, &format!("role = \"{role}\"\nscope = {scope}\n"))
}

fn keys() -> String {
    [
        key("caller", CALLER, "call", "[\"team-*\"]"),
        key("admin", ADMIN, "admin", "[\"team-*\"]"),
        key("wide", WIDE, "admin", "\"*\""),
        key("operator", OPERATOR, "operator", "\"*\""),
        key("finance", FINANCE, "call", "\"category:finance\""),
    ]
    .concat()
}

fn fleet() -> Fleet {
    let agents = "[agents.team-1]\ncomponent = \"<echo>\"\n[agents.other]\ncomponent = \"<echo>\"\n";
    Fleet::new(&format!("{}{agents}", keys()))
}

fn with_json(method: &str, target: &str, body: &Value) -> Request {
    Request::new(method, target).header("content-type", "application/json").body(body.to_string())
}

/// How a route is asked about the agent `id`, by somebody called `who`.
fn request(route: &Route, id: &str, who: &str) -> Request {
    let task = json!({ "task": "say something" });
    let body = match route.operation {
        Operation::Route | Operation::SmartExecute => Some(task),
        Operation::Execute => Some(json!({ "agent": id, "query": "x" })),
        Operation::ExecuteAgent => Some(json!({ "query": "x" })),
        Operation::Batch => Some(json!([{ "agent": id, "query": "x" }])),
        // A component that is nobody's: whoever may put an agent there puts none.
        Operation::Register => Some(json!({ "id": id, "component": "nobody" })),
        Operation::Replace => Some(json!({ "component": "nobody" })),
        Operation::Generate => {
            Some(json!({ "template": id, "count": 1, "prefix": format!("team-{who}-{id}-") }))
        }
        Operation::Approve | Operation::RollBack => Some(json!({})),
        Operation::ListAgents
        | Operation::ShowAgent
        | Operation::AgentStatus
        | Operation::Stats
        | Operation::Metrics
        | Operation::Audit
        | Operation::Remove
        | Operation::Health
        | Operation::Readiness => None,
    };
    let target = route.path.replace("{id}", id);
    match body {
        Some(body) => with_json(route.method.as_str(), &target, &body),
        None => Request::new(route.method.as_str(), &target),
    }
}

/// A key, with what it reaches.
struct Caller {
    name: &'static str,
    key: &'static str,
    role: Role,
    /// The agents that it reaches among those that there are, and whether one that there is not could be put
    /// by it.
    reaches: fn(&str) -> bool,
    may_be_new: bool,
}

const fn caller(
    name: &'static str,
    key: &'static str,
    role: Role,
    reaches: fn(&str) -> bool,
    may_be_new: bool,
) -> Caller {
    Caller { name, key, role, reaches, may_be_new }
}

const CALLERS: &[Caller] = &[
    caller("caller", CALLER, Role::Call, |id| id == "team-1", false),
    caller("finance", FINANCE, Role::Call, |id| id == "books", true),
    caller("admin", ADMIN, Role::Admin, |id| id == "team-1", false),
    caller("treasurer", TREASURER, Role::Admin, |id| id == "books", true),
    caller("wide", WIDE, Role::Admin, |_| true, true),
    caller("operator", OPERATOR, Role::Operator, |_| true, true),
];

impl Caller {
    /// Whether this may be asked about the agent `id`.
    fn may(&self, terms: Terms, id: &str) -> bool {
        let Some(role) = terms.role else { return true };
        let reaches = match terms.subject {
            Subject::Agent => (self.reaches)(id),
            Subject::Place if id == "ghost" => self.may_be_new,
            Subject::Place => (self.reaches)(id),
            Subject::Everybody | Subject::Callers | Subject::Host => true,
        };
        self.role >= role && reaches
    }
}

#[test]
fn every_operation_asks_for_its_role_and_scope() {
    let agents = "[agents.books]\ncomponent = \"<echo>\"\ncategory = \"finance\"\n";
    let fleet = Fleet::new(&format!(
        "{}{}[agents.team-1]\ncomponent = \"<echo>\"\n[agents.other]\ncomponent = \"<echo>\"\n{agents}",
        keys(),
        key("treasurer", TREASURER, "admin", "\"category:finance\"")
    ));
    let server = fleet.start().key(OPERATOR).serve();
    for id in ["team-1", "other", "books", "ghost"] {
        for route in ROUTES {
            let terms = route.operation.terms();
            let keyless = server.ask_plainly(request(route, id, "nobody"));
            assert_eq!(keyless.status == 401, terms.role.is_some(), "{} without a key", route.path);
            for caller in CALLERS {
                let reply = server.ask_plainly(request(route, id, caller.name).key(caller.key));
                let Caller { name, .. } = caller;
                if caller.may(terms, id) {
                    let fine = reply.status != 403 && reply.status != 401;
                    assert!(fine, "{name} {} {} {id}: {}", route.method, route.path, reply.text);
                } else {
                    assert_eq!(reply.status, 403, "{name} {} {} {id}", route.method, route.path);
                    reply.expect_failure(403, "forbidden");
                }
            }
        }
    }
    // What was asked for changed nothing of what is not the scoped keys'.
    assert_eq!(server.agent("other")["generation"], 1);
    server.get("/orchestrator/agents/ghost").expect_failure(404, "agent_not_found");
}

#[test]
fn every_operation_has_a_route_and_no_route_is_none() {
    let asked: BTreeSet<Operation> = ROUTES.iter().map(|route| route.operation).collect();
    assert_eq!(asked, BTreeSet::from(Operation::ALL));
    // The router is made of that table alone.
    let mut routed = 0;
    for file in fs::read_dir(root().join("host/src/api")).expect("the door") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("its source");
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        routed += code.matches("router.route(").count();
        for other in [".route(\"", ".nest(", ".route_service(", ".nest_service(", ".merge("] {
            assert!(!code.contains(other), "{other}");
        }
    }
    assert_eq!(routed, 1);
}

/// What an answer says, whatever the agent is called.
fn told(reply: Reply, name: &str) -> (u16, String) {
    let mut body = reply.json();
    body["request_id"] = Value::Null;
    (reply.status, body.to_string().replace(name, "NAME"))
}

/// Routes that are about one agent, or its place.
fn about_one() -> impl Iterator<Item = &'static Route> {
    let of_one = |route: &&Route| matches!(route.operation.terms().subject, Subject::Agent | Subject::Place);
    ROUTES.iter().filter(of_one)
}

#[test]
fn to_another_tenant_agents_are_not_there() {
    const CALL: &str = "key-of-another-tenant-0123456789abcd";
    const CHANGE: &str = "key-of-another-admin-0123456789abcde";
    let of_acme =
        |name: &str, secret: &str, role: &str| key(name, secret, role, "\"*\"") + "tenant = \"acme\"\n";
    let foreign = [of_acme("acme-call", CALL, "call"), of_acme("acme-admin", CHANGE, "admin")].concat();
    let agents = "[agents.team-1]\ncomponent = \"<echo>\"\n[agents.other]\ncomponent = \"<echo>\"\n";
    let fleet = Fleet::new(&format!("{}{foreign}{agents}", keys()));
    let server = fleet.start().key(OPERATOR).serve();
    register(&server, WIDE, "team-new", json!({}), &plain(1)).expect(201);
    for route in about_one() {
        for (secret, role) in [(CALL, Role::Call), (CHANGE, Role::Admin)] {
            let there = told(server.ask_plainly(request(route, "other", "x").key(secret)), "other");
            let not = told(server.ask_plainly(request(route, "ghost", "x").key(secret)), "ghost");
            assert_eq!(there, not, "{} {}", route.method, route.path);
            let terms = route.operation.terms();
            let expected = match terms.subject {
                _ if Some(role) < terms.role => 403,
                Subject::Agent => 404,
                // It may have an agent of that name itself, if its component were one.
                _ => 422,
            };
            assert_eq!(there.0, expected, "{} {}: {}", route.method, route.path, there.1);
        }
    }
    for path in ["/orchestrator/agents", "/api/agents/status", "/agents/status", "/api/audit"] {
        assert_eq!(server.ask_plainly(Request::get(path).key(CHANGE)).expect(200), json!([]), "{path}");
    }
    let stats = server.ask_plainly(Request::get("/orchestrator/stats").key(CALL)).expect(200);
    assert_eq!(stats["total_agents"], 0);
}

#[test]
fn an_admin_is_not_told_whether_an_agent_outside_its_scope_exists() {
    let fleet = fleet();
    let server = fleet.start().key(OPERATOR).serve();
    for route in about_one() {
        let there = told(server.ask_plainly(request(route, "other", "x").key(ADMIN)), "other");
        let not = told(server.ask_plainly(request(route, "ghost", "x").key(ADMIN)), "ghost");
        assert_eq!(there, not, "{}", route.path);
    }
    // Nor by what a new agent is to share: an agent, or the digest of what it runs.
    let share = |component: &str| {
        let body = json!({ "id": "team-new", "component": component });
        server.ask_plainly(Request::post("/api/agents", &body).key(ADMIN))
    };
    assert_eq!(told(share("other"), "other"), told(share("ghost"), "ghost"));
    let secret =
        server.ask(Request::multipart("POST", "/api/agents", &json!({ "id": "foreign" }), &plain(9)));
    secret.expect(201);
    let (there, not) = (digest(&plain(9)), digest(&plain(8)));
    assert_eq!(told(share(&there), &there), told(share(&not), &not));
    share("team-1").expect(201);
    server
        .ask_plainly(Request::new("DELETE", "/api/agents/foreign").key(ADMIN))
        .expect_failure(403, "forbidden");
    server.ask_plainly(Request::new("DELETE", "/api/agents/foreign").key(WIDE)).expect(200);
}

fn register(server: &Server, key: &str, id: &str, settings: Value, component: &[u8]) -> Reply {
    let mut settings = settings;
    settings["id"] = json!(id);
    server.ask_plainly(Request::multipart("POST", "/api/agents", &settings, component).key(key))
}

#[test]
fn an_admin_puts_agents_only_where_its_scope_reaches() {
    let fleet = fleet();
    let server = fleet.start().key(OPERATOR).serve();
    let none = || json!({});
    let refused = |reply: Reply| drop(reply.expect_failure(403, "forbidden"));
    register(&server, ADMIN, "team-2", none(), &plain(1)).expect(201);
    register(&server, ADMIN, "team-3", json!({ "category": "utility" }), &plain(1)).expect(201);
    refused(register(&server, ADMIN, "elsewhere", none(), &plain(1)));
    refused(register(&server, ADMIN, "elsewhere", json!({ "category": "team-2" }), &plain(1)));
    // Another key trusts that category: an agent is put there by nobody whose scope does not name it, be it
    // by the settings' word or the component's.
    refused(register(&server, ADMIN, "team-4", json!({ "category": "finance" }), &plain(1)));
    refused(register(&server, ADMIN, "team-4", none(), &of_category("finance", 1)));
    let put = Request::multipart("PUT", "/api/agents/team-2", &json!({ "category": "finance" }), &plain(1));
    refused(server.ask_plainly(put.clone().key(ADMIN)));
    assert_eq!(server.agent("team-2")["category"], "test");
    server.ask_plainly(put.key(WIDE)).expect(200);
    assert_eq!(server.agent("team-2")["category"], "finance");
    // Where it is now, it is its admin's to change on.
    let put = Request::multipart("PUT", "/api/agents/team-2", &json!({ "category": "finance" }), &plain(2));
    server.ask_plainly(put.key(ADMIN)).expect(200);
    let made = |prefix: &str, template: &str| {
        let body = json!({ "template": template, "count": 2, "prefix": prefix });
        server.ask_plainly(Request::post("/api/agents/generate", &body).key(ADMIN))
    };
    refused(made("elsewhere-", "team-3"));
    refused(made("team-of-finance-", "team-2"));
    refused(made("team-made-", "other"));
    made("team-made-", "team-3").expect(201);
    assert_eq!(server.get("/orchestrator/agents/elsewhere").status, 404);
}

#[test]
fn an_admin_of_a_category_stays_in_it() {
    const HOLDER: &str = "key-of-a-category-admin-0123456789ab";
    let settings = format!(
        "{}{}[agents.other]\ncomponent = \"<echo>\"\n[agents.mine]\ncomponent = \"<echo>\"\ncategory = \"finance\"\n",
        keys(),
        key("holder", HOLDER, "admin", "\"category:finance\"")
    );
    let fleet = Fleet::new(&settings);
    let server = fleet.start().key(OPERATOR).serve();
    register(&server, HOLDER, "books", json!({ "category": "finance" }), &plain(1)).expect(201);
    register(&server, HOLDER, "ledger", json!({}), &of_category("finance", 1)).expect(201);
    register(&server, HOLDER, "games", json!({ "category": "fun" }), &plain(1))
        .expect_failure(403, "forbidden");
    // There is one of that name, which it may not know: no 409.
    let taken = register(&server, HOLDER, "other", json!({ "category": "finance" }), &plain(1));
    taken.expect_failure(403, "forbidden");
    let moved = Request::multipart("PUT", "/api/agents/books", &json!({ "category": "fun" }), &plain(1));
    server.ask_plainly(moved.key(HOLDER)).expect_failure(403, "forbidden");
    server.ask_plainly(Request::new("DELETE", "/api/agents/books").key(HOLDER)).expect(200);
    let own = server.ask_plainly(Request::new("DELETE", "/api/agents/mine").key(HOLDER));
    own.expect_failure(409, "conflict");
}

#[test]
fn new_code_moves_an_agent_into_no_scope_by_its_own_word() {
    let settings = format!("{}[agents.team-1]\ncomponent = \"plugins/a.wasm\"\n", keys());
    let fleet = Fleet::new(&settings);
    let first = fleet.plugin("a", &of_category("games", 1));
    let server = fleet.start().key(OPERATOR).serve();
    assert_eq!(server.wait_for_digest("team-1", &first)["category"], "games");
    let seen = |server: &Server| {
        let list = server.ask_plainly(Request::get("/orchestrator/agents").key(FINANCE)).expect(200);
        let page = server.ask_plainly(Request::get("/orchestrator/agents/team-1").key(FINANCE)).status;
        (list.as_array().map(Vec::len), page)
    };
    let second = fleet.plugin("a", &of_category("finance", 2));
    let page = server.wait_for_pending("team-1", &second);
    assert_eq!(page["status"], "pending_approval");
    assert_eq!(page["pending"]["wants"], json!(["category: finance"]));
    let remedy = page["pending"]["remedy"].as_str().expect("a remedy");
    assert!(remedy.contains("category = \"finance\"") && remedy.contains("stockade approve"), "{remedy}");
    assert_eq!((&page["digest"], &page["category"]), (&json!(first), &json!("games")));
    assert_eq!(seen(&server), (Some(0), 403));
    let listed = fleet.command(&server, &["agents"]);
    assert!(listed.err.contains("category: finance"), "{listed:?}");
    // It waits on after a restart, and what served serves.
    drop(server);
    let server = fleet.start().key(OPERATOR).serve();
    let page = server.wait_for_pending("team-1", &second);
    assert_eq!((&page["digest"], &page["category"]), (&json!(first), &json!("games")));
    assert_eq!(seen(&server), (Some(0), 403));
    // An admin whose scope does not name the category lets nothing into it.
    let approve = |key: &str| {
        let body = json!({ "digest": second });
        server.ask_plainly(with_json("POST", "/api/agents/team-1/approve", &body).key(key))
    };
    approve(ADMIN).expect_failure(403, "forbidden");
    approve(WIDE).expect(200);
    assert_eq!(server.wait_for_digest("team-1", &second)["category"], "finance");
    assert_eq!(seen(&server), (Some(1), 200));
    // The settings' word needs no approval, and goes before the component's.
    fleet.settings(&format!("{settings}category = \"tools\"\n"));
    server.wait_for_page("team-1", "the settings' category counts", |page| page["category"] == "tools");
    let third = fleet.plugin("a", &of_category("games", 3));
    assert_eq!(server.wait_for_digest("team-1", &third)["category"], "tools");
}

#[test]
fn callers_see_no_paths_no_names_of_keys_and_nothing_that_waits() {
    let settings = format!(
        "{}[agents.team-1]\ncomponent = \"plugins/planted-path.wasm\"\n[agents.team-2]\ncomponent = \"plugins/planted-gone.wasm\"\n",
        keys()
    );
    let fleet = Fleet::new(&settings);
    let first = fleet.plugin("planted-path", &of_category("a", 1));
    let server = fleet.start().key(OPERATOR).serve();
    server.wait_for_digest("team-1", &first);
    // Taken back by a key with a name; then one that waits; and a load that fails.
    let second = fleet.plugin("planted-path", &of_category("a", 2));
    server.wait_for_digest("team-1", &second);
    let back = with_json("POST", "/api/agents/team-1/rollback", &json!({}));
    server.ask_plainly(back.key(ADMIN)).expect(200);
    server.wait_for_digest("team-1", &first);
    let third = fleet.plugin("planted-path", &of_category("b", 3));
    server.wait_for_pending("team-1", &third);
    fleet.plugin("planted-path", b"no component");
    server.wait_for_failure("team-1", &["planted-path"]);
    let pages = [
        "/orchestrator/agents/team-1",
        "/orchestrator/agents/team-2",
        "/orchestrator/agents",
        "/api/agents/status",
        "/agents/status",
        "/orchestrator/stats",
    ];
    let folder = fleet.path("").display().to_string();
    let planted =
        [folder.trim_end_matches('/'), "planted", "key `admin`", "`admin`", &second, &third, "blocked\":[{"];
    for path in pages {
        let page = server.ask_plainly(Request::get(path).key(CALLER));
        page.expect(200);
        for word in planted {
            assert!(!page.text.contains(word), "{path} shows {word}: {}", page.text);
        }
    }
    let page = |key: &str, id: &str| {
        server.ask_plainly(Request::get(&format!("/orchestrator/agents/{id}")).key(key)).expect(200)
    };
    let caller = page(CALLER, "team-1");
    assert_eq!(caller["last_reload"]["error"], "its component could not be loaded");
    for (field, value) in [("pending", Value::Null), ("previous", json!([])), ("blocked", json!([]))] {
        assert_eq!(caller[field], value, "{field}");
    }
    assert_eq!((&caller["digest"], &caller["status"]), (&json!(first), &json!("pending_approval")));
    assert_eq!(page(CALLER, "team-2")["last_reload"]["error"], "its component is not there");
    // Whoever may change it sees all of it; the fields are the same.
    for key in [ADMIN, WIDE, OPERATOR] {
        let all = page(key, "team-1");
        let text = all.to_string();
        for word in ["planted-path", "key `admin`", &second, &third] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
        let fields = |page: &Value| page.as_object().expect("a page").keys().cloned().collect::<Vec<_>>();
        assert_eq!(fields(&all), fields(&caller));
    }
}

#[test]
fn a_version_that_failed_says_why_to_whoever_may_change_it() {
    let settings = format!("{}[agents.team-1]\ncomponent = \"plugins/a.wasm\"\n", keys());
    let fleet = Fleet::new(&settings);
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.start().key(ADMIN).serve();
    server.wait_for_digest("team-1", &first);
    fleet.plugin("a", &failing(2));
    server.wait_for_digest("team-1", &digest(&failing(2)));
    // An admin's own agent is its own to take back, with its own key.
    server.ask(with_json("POST", "/api/agents/team-1/rollback", &json!({}))).expect(200);
    assert_eq!(server.agent("team-1")["digest"], first);
    assert!(server.agent("team-1")["blocked"][0]["reason"].to_string().contains("key `admin`"));
}

#[test]
fn nobody_grants_what_its_own_key_does_not_lend() {
    const NARROW: &str = "key-of-a-narrow-admin-0123456789abcd";
    let narrow = key("narrow", NARROW, "admin", "[\"team-*\"]") + "capabilities = []\n";
    let fleet = Fleet::new(&format!("{}{narrow}", keys()));
    let server = fleet.start().key(OPERATOR).serve();
    let granted = || json!({ "grants": { "system": true } });
    let refused = |reply: Reply| {
        let said = reply.expect_failure(403, "forbidden");
        assert!(said["message"].to_string().contains("does not lend"), "{said}");
    };
    let put = |who: &str, id: &str, settings: Value, component: &[u8]| {
        server.ask_plainly(
            Request::multipart("PUT", &format!("/api/agents/{id}"), &settings, component).key(who),
        )
    };
    // Not by its settings, be it used at once or later; not by making more of one that has it.
    refused(register(&server, NARROW, "team-1", granted(), &wanting(1)));
    refused(register(&server, NARROW, "team-1", granted(), &plain(1)));
    register(&server, ADMIN, "team-1", granted(), &wanting(1)).expect(201);
    let made = |who: &str| {
        let body = json!({ "template": "team-1", "count": 1, "prefix": "team-made-" });
        server.ask_plainly(Request::post("/api/agents/generate", &body).key(who))
    };
    refused(made(NARROW));
    made(ADMIN).expect(201);
    // What the agent has already is no grant of its own, as long as the code is the same.
    let renamed = json!({ "name": "Renamed", "grants": { "system": true } });
    put(NARROW, "team-1", renamed, &wanting(1)).expect(200);
    refused(put(NARROW, "team-1", granted(), &wanting(2)));
    // Nor by its word on what waits.
    register(&server, NARROW, "team-2", json!({}), &plain(2)).expect(201);
    put(NARROW, "team-2", json!({}), &wanting(3)).expect(202);
    let approve = |who: &str| {
        let body = json!({ "digest": digest(&wanting(3)) });
        server.ask_plainly(with_json("POST", "/api/agents/team-2/approve", &body).key(who))
    };
    refused(approve(NARROW));
    assert_eq!(server.agent("team-2")["digest"], digest(&plain(2)));
    approve(ADMIN).expect(200);
    // What was approved was approved for code of others.
    refused(put(NARROW, "team-2", json!({}), &wanting(4)));
    assert_eq!(server.agent("team-2")["digest"], digest(&wanting(3)));
}

#[test]
fn a_rollback_moves_into_no_category_that_others_trust() {
    let fleet = Fleet::new(&keys());
    let server = fleet.start().key(WIDE).serve();
    let in_finance = of_category("finance", 1);
    register(&server, WIDE, "team-1", json!({}), &in_finance).expect(201);
    let out = of_category("games", 2);
    server.ask(Request::multipart("PUT", "/api/agents/team-1", &json!({}), &out)).expect(202);
    server.post("/api/agents/team-1/approve", &json!({ "digest": digest(&out) })).expect(200);
    assert_eq!(server.agent("team-1")["category"], "games");
    let back =
        |who: &str| server.ask_plainly(with_json("POST", "/api/agents/team-1/rollback", &json!({})).key(who));
    back(ADMIN).expect_failure(403, "forbidden");
    let page = server.agent("team-1");
    assert_eq!((&page["category"], &page["digest"]), (&json!("games"), &json!(digest(&out))));
    assert_eq!(back(WIDE).expect(200)["category"], "finance");
}
