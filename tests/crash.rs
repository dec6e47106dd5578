//! Killed at any moment (`kill -9`): the next start is consistent, and has everything that was acknowledged.
//!
//! The moments come from a generator with a seed, spread over what a change takes; no assertion depends
//! on which of them hits what. `STOCKADE_CRASH_ROUNDS` makes it more or fewer rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::fleet::digest;
use crate::support::random::Random;
use crate::support::server::Start;
use crate::support::{Request, Server, guests, poll_until};

/// How often it is killed.
fn rounds(usually: usize) -> usize {
    let asked = std::env::var("STOCKADE_CRASH_ROUNDS").ok();
    asked.and_then(|rounds| rounds.parse().ok()).unwrap_or(usually)
}

/// The echo guest under a digest of its own: with a custom section at its end.
fn variant(number: usize) -> Vec<u8> {
    let mut component = fs::read(guests::guest("echo")).expect("a component");
    let content = format!("\x07variant{number:08}");
    component.extend([0, u8::try_from(content.len()).expect("a short section")]);
    component.extend(content.bytes());
    component
}

/// Sends a request from a thread of its own: the status of its answer, if one came before the host was
/// killed.
fn send(server: &Server, request: Request) -> JoinHandle<Option<u16>> {
    let request = server.signed(request);
    let address = server.address;
    std::thread::spawn(move || {
        let mut connection = crate::support::Connection::try_open(address).ok()?;
        connection.try_ask(&request).ok().map(|reply| reply.status)
    })
}

/// Kills the host in so long: the moment is the input here, and nothing is waited for.
fn kill(server: Server, moment: Duration) {
    std::thread::sleep(moment);
    // The child's `kill` is SIGKILL.
    drop(server);
}

/// A generation of an agent, and the digest that had it.
type Version = (u64, String);

fn version(answer: &Value) -> Version {
    let generation = answer["agent_generation"].as_u64().expect("a generation");
    (generation, answer["agent_digest"].as_str().expect("a digest").to_owned())
}

/// A change that somebody asked for.
struct Asked {
    id: String,
    /// Its status, if an answer came.
    answer: JoinHandle<Option<u16>>,
    /// The digest that serves when it is done; `None` for no agent.
    wanted: Option<String>,
}

/// The agents of agents.toml: two of one file.
const OF_THE_FILE: [&str; 2] = ["one", "two"];

/// A data folder that outlives its hosts, and what is known of what must be in it.
struct World {
    folder: TempDir,
    random: Random,
    /// The next component's number.
    next: usize,
    /// What each agent of the file was seen to serve, by generation.
    seen: BTreeMap<&'static str, BTreeMap<u64, String>>,
    /// What the file holds; `None` where its writer has not come to the end.
    file: Option<String>,
    /// What each agent that was ever registered may serve: digests, and `None` for not being there.
    registered: BTreeMap<String, BTreeSet<Option<String>>>,
    /// How long a change takes.
    change: Duration,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let first = variant(0);
        fs::write(folder.path().join("agent.wasm"), &first).expect("a component");
        let world = Self {
            folder,
            random: Random::new(9),
            next: 1,
            seen: OF_THE_FILE.map(|id| (id, BTreeMap::new())).into(),
            file: Some(digest(&first)),
            registered: BTreeMap::new(),
            change: Duration::ZERO,
        };
        world.settings(0);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self, number: usize) {
        let agent = |id: &str| {
            format!("[agents.{id}]\ncomponent = \"agent.wasm\"\nconfig = {{ number = \"{number}\" }}\n")
        };
        self.replace("agents.toml", OF_THE_FILE.map(agent).concat().as_bytes());
    }

    /// Puts a file in place at once.
    fn replace(&self, name: &str, bytes: &[u8]) {
        let aside = self.path("aside");
        fs::write(&aside, bytes).expect("a file");
        fs::rename(&aside, self.path(name)).expect("renamed");
    }

    fn start(&self) -> Start {
        Start::file(&self.path("agents.toml"), &self.path("data"))
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// A moment within a change, or shortly after it.
    fn moment(&mut self) -> Duration {
        let share = u32::try_from(self.random.below(1_300)).expect("a small number");
        self.change * share / 1_000
    }

    /// Notes what an agent of the file serves: a generation belongs to one version for ever.
    fn note(&mut self, id: &'static str, (generation, digest): Version) {
        let known = self.seen.get_mut(id).expect("it is known").insert(generation, digest.clone());
        assert!(
            known.as_ref().is_none_or(|known| *known == digest),
            "generation {generation} of {id}: {known:?}, then {digest}"
        );
    }

    /// What the host must be after a start, whatever happened before.
    fn check(&mut self, server: &Server) {
        for id in OF_THE_FILE {
            let answer = server.call(id, "hello").expect(200);
            assert_eq!(answer["response"], "hello");
            let now = version(&answer);
            let last = self.seen[id].last_key_value().map(|(number, digest)| (*number, digest.clone()));
            if let Some(last) = &last {
                assert!(now.0 >= last.0, "{id} goes back from {last:?} to {now:?}");
            }
            match (&self.file, last) {
                (Some(file), _) => assert_eq!(now.1, *file, "{id} does not serve what its file is"),
                // Half a file changes nothing.
                (None, Some(last)) => assert_eq!(now.1, last.1, "{id} does not serve what it served"),
                (None, None) => {}
            }
            self.note(id, now);
        }
        let listed: BTreeSet<String> = ids(server);
        for (id, may) in &mut self.registered {
            let page = listed.contains(id).then(|| server.agent(id));
            let serves = page.as_ref().map(|page| page["digest"].as_str().unwrap_or_default().to_owned());
            assert!(may.contains(&serves), "{id} serves {serves:?}, and may {may:?}: {page:?}");
            if page.is_some() {
                assert_eq!(server.call(id, "hello").expect(200)["response"], "hello");
            }
            *may = [serves].into();
        }
        let known = self.registered.keys().map(String::as_str).chain(OF_THE_FILE);
        let known: BTreeSet<&str> = known.collect();
        assert!(listed.iter().all(|id| known.contains(id.as_str())), "{listed:?}");
        self.check_files(server, &listed);
    }

    /// What is on disk is what records name, whole.
    fn check_files(&self, server: &Server, listed: &BTreeSet<String>) {
        let mut needed = BTreeSet::new();
        for id in listed {
            let page = server.agent(id);
            let previous = page["previous"].as_array().expect("a list").iter().map(|one| &one["digest"]);
            let all = previous.chain([&page["digest"]]).filter_map(Value::as_str);
            needed.extend(all.map(str::to_owned));
        }
        let components = self.path("data/components");
        poll_until("components without a user are removed", || (names(&components) == needed).then_some(()));
        for name in &needed {
            let bytes = fs::read(components.join(name)).expect("a component that is kept");
            assert_eq!(digest(&bytes), *name, "what is kept is damaged");
        }
        let log = server.log();
        assert!(!log.contains("discarded compiled code") && !log.contains("panicked"), "{log}");
    }

    /// Changes things until the host is killed.
    fn round(&mut self, server: Server) {
        let watcher = watch(&server);
        let number = self.number();
        let component = variant(number);
        // In most rounds the file or the settings change, in most something is registered or removed.
        match self.random.below(8) {
            0..=2 => {
                self.replace("agent.wasm", &component);
                self.file = Some(digest(&component));
            }
            3 | 4 => {
                fs::write(self.path("agent.wasm"), &component).expect("written");
                self.file = Some(digest(&component));
            }
            5 => {
                let half = self.random.below(component.len() / 2) + 50;
                fs::write(self.path("agent.wasm"), &component[..half]).expect("half of it");
                self.file = None;
            }
            6 => self.settings(number),
            _ => {}
        }
        let asked = self.register(&server);
        let moment = self.moment();
        kill(server, moment);
        if let Some(Asked { id, answer, wanted }) = asked {
            let may = self.registered.get_mut(&id).expect("it is known");
            match answer.join().expect("the client ends") {
                Some(200 | 201) => *may = [wanted].into(),
                Some(status) => panic!("{id}: status {status}"),
                None => {
                    may.insert(wanted);
                }
            }
        }
        for (id, versions) in OF_THE_FILE.into_iter().zip(watcher.join().expect("the watcher ends")) {
            let mut last = 0;
            for seen in versions {
                assert!(seen.0 >= last, "{id} goes back from {last} to {seen:?}");
                last = seen.0;
                self.note(id, seen);
            }
        }
        // What was half-written is written in the end, or the agent would stay as it is.
        if self.file.is_none() && self.random.one_in(2) {
            self.replace("agent.wasm", &component);
            self.file = Some(digest(&component));
        }
    }

    /// Registers, replaces or removes an agent, or does not.
    fn register(&mut self, server: &Server) -> Option<Asked> {
        let number = self.number();
        let component = variant(number);
        let there = self.registered.iter().filter(|(_, may)| !may.contains(&None));
        let there: Vec<String> = there.map(|(id, _)| id.clone()).collect();
        let settings = json!({ "config": { "number": number.to_string() } });
        let (id, request, wanted) = match self.random.below(6) {
            0..=2 => {
                let id = format!("made-{number}");
                self.registered.insert(id.clone(), [None].into());
                let mut settings = settings;
                settings["id"] = json!(id);
                (
                    id,
                    Request::multipart("POST", "/api/agents", &settings, &component),
                    Some(digest(&component)),
                )
            }
            3 if !there.is_empty() => {
                let id = self.random.of(&there).clone();
                let target = format!("/api/agents/{id}");
                (id, Request::multipart("PUT", &target, &settings, &component), Some(digest(&component)))
            }
            4 if !there.is_empty() => {
                let id = self.random.of(&there).clone();
                let target = format!("/api/agents/{id}");
                (id, Request::new("DELETE", &target), None)
            }
            _ => return None,
        };
        Some(Asked { id, answer: send(server, request), wanted })
    }
}

/// The agents that are there.
fn ids(server: &Server) -> BTreeSet<String> {
    let agents = server.get("/orchestrator/agents").expect(200);
    let ids = agents.as_array().expect("a list").iter().map(|agent| agent["id"].as_str().expect("an id"));
    ids.map(str::to_owned).collect()
}

/// The names in a folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Calls the agents of the file until the host is gone: what each answered as.
fn watch(server: &Server) -> JoinHandle<[Vec<Version>; 2]> {
    let mut connection = server.connect();
    let request =
        |id| server.signed(Request::post("/orchestrator/execute", &json!({ "agent": id, "query": "hello" })));
    let requests = OF_THE_FILE.map(request);
    std::thread::spawn(move || {
        let mut seen = [Vec::new(), Vec::new()];
        loop {
            for (index, request) in requests.iter().enumerate() {
                match connection.try_ask(request) {
                    Ok(reply) => seen[index].push(version(&reply.expect(200))),
                    Err(_) => return seen,
                }
            }
        }
    })
}

#[test]
fn killed_in_the_middle_of_a_change_it_starts_with_the_old_or_the_new_and_nothing_of_a_half() {
    let mut world = World::new();
    let server = world.start().serve();
    world.check(&server);
    // One change that is left alone says how long one takes.
    let component = variant(1);
    let began = Instant::now();
    world.replace("agent.wasm", &component);
    world.file = Some(digest(&component));
    poll_until("the change serves", || {
        let answer = server.call("one", "hello").expect(200);
        (answer["agent_digest"] == *world.file.as_ref()?).then_some(())
    });
    world.change = began.elapsed();
    world.check(&server);
    drop(server);
    for _ in 0..rounds(8) {
        if world.random.one_in(4) {
            // While it starts.
            let moment = world.moment();
            kill(world.start().at_once().serve(), moment);
        }
        let server = world.start().serve();
        world.check(&server);
        world.round(server);
    }
    world.check(&world.start().serve());
}

#[test]
fn killed_while_a_thousand_are_made_it_has_all_or_none() {
    // With the template, as many as one page has.
    const MADE: usize = 999;
    let mut random = Random::new(5);
    let body = json!({ "template": "echo", "count": MADE, "prefix": "made-" });
    let generate = || Request::post("/api/agents/generate", &body);
    let (mut took, mut cut) = (None, 0);
    let wanted = rounds(3);
    for round in 0..wanted * 10 {
        if round > wanted && cut > 0 {
            break;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("agents.toml");
        fs::write(&config, guests::settings("[agents.echo]\ncomponent = \"<echo>\"\n")).expect("agents.toml");
        let data = folder.path().join("data");
        guests::warm(&data);
        let server = Start::file(&config, &data).serve();
        let answer = match took {
            // The first time it is left alone, and says how long it takes.
            None => {
                let began = Instant::now();
                let status = server.ask(generate()).status;
                took = Some(began.elapsed());
                drop(server);
                Some(status)
            }
            Some(took) => {
                let log = data.join("registry.db-wal");
                let size = || fs::metadata(&log).map_or(0, |file| file.len());
                let before = size();
                let answer = send(&server, generate());
                if round % 2 == 1 {
                    // As soon as they are being written down.
                    poll_until("they are written down", || {
                        (size() != before || answer.is_finished()).then_some(())
                    });
                    kill(server, Duration::ZERO);
                } else {
                    let share = u32::try_from(random.below(1_200)).expect("a small number");
                    kill(server, took * share / 1_000);
                }
                let answer = answer.join().expect("the client ends");
                cut += usize::from(answer.is_none());
                answer
            }
        };
        let server = Start::file(&config, &data).serve();
        let made = ids(&server).len() - 1;
        assert!([0, MADE].contains(&made), "round {round}: {made} of {MADE}");
        if let Some(status) = answer {
            assert_eq!((status, made), (201, MADE), "round {round}: what was promised is there");
        }
        if made > 0 {
            for number in [0, random.below(MADE), MADE - 1] {
                let answer = server.call(&format!("made-{number:03}"), "hello").expect(200);
                assert_eq!(answer["response"], "hello");
            }
        }
    }
    assert!(cut > 0, "every kill came after the answer: nothing was tried");
}

#[test]
fn compiled_code_that_was_half_written_goes_and_what_others_write_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("agents.toml");
    fs::write(&config, guests::settings("[agents.echo]\ncomponent = \"<echo>\"\n")).expect("agents.toml");
    let data = folder.path().join("data");
    let start = || Start::file(&config, &data).serve();
    let server = start();
    let cache =
        fs::read_dir(data.join("cache")).expect("the cache").flatten().next().expect("an engine's folder");
    // They are written when the agent serves already.
    poll_until("its functions are kept", || {
        names(&cache.path()).iter().any(|name| name.ends_with(".functions")).then_some(())
    });
    drop(server);
    let half = |name: &str, age: Duration| {
        let file = fs::File::create(cache.path().join(name)).expect("a file");
        file.set_modified(SystemTime::now() - age).expect("its time");
    };
    half(".writing-before", Duration::from_secs(100 * 60));
    half(".writing-now", Duration::ZERO);
    start().call("echo", "hello").expect(200);
    let is_whole = |name: &String| name.ends_with(".cwasm") || name.ends_with(".functions");
    let left: Vec<String> = names(&cache.path()).into_iter().filter(|name| !is_whole(name)).collect();
    assert_eq!(left, [".writing-now"]);
}
