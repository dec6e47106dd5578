//! Examples as self-tests, and compiled code that is forgotten: the engine as the registry uses it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use stockade::config::{self, Config, EngineConfig, Limits, NoEnvironment};
use stockade::domain::{AgentId, Digest};
use stockade::engine::{Compiler, Engine, Example, LinkedComponent, Origin, SelfTestError};
use tempfile::TempDir;

use crate::support::guests;

/// An engine with a cache of its own, and a guest in it.
struct Bench {
    runtime: tokio::runtime::Runtime,
    engine: Arc<Engine>,
    guest: Arc<LinkedComponent>,
    data: TempDir,
}

impl Bench {
    fn new(guest: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let data = tempfile::tempdir().expect("a folder");
        let settings: EngineConfig = Config::defaults(data.path()).engine;
        let (services, handle) = (Arc::default(), runtime.handle().clone());
        let engine = Engine::new(&settings, Some(data.path()), Compiler::InProcess, services, handle);
        let engine = Arc::new(engine.expect("an engine"));
        let bytes = fs::read(guests::guest(guest)).expect("a component");
        let digest = Digest::of(&bytes);
        let loaded = runtime.block_on(engine.load(bytes.into(), digest, Origin::Kept));
        let guest = Arc::new(loaded.expect("a guest"));
        Self { runtime, engine, guest, data }
    }

    fn run(&self, fuel: u64, examples: &[(&str, Option<&str>)]) -> Result<(), SelfTestError> {
        let examples: Vec<Example> = examples
            .iter()
            .map(|(task, expected)| Example {
                task: (*task).to_owned(),
                expected: expected.map(str::to_owned),
            })
            .collect();
        let agent = AgentId::parse("tested").expect("an id");
        let settings = BTreeMap::from([("city".to_owned(), "Berlin".to_owned())]);
        let limits = limits(fuel);
        let test = self.engine.self_test(self.guest.clone(), &agent, &limits, &settings, &examples);
        self.runtime.block_on(test).expect("the engine runs")
    }

    fn cached(&self) -> usize {
        let engines = fs::read_dir(self.data.path().join("cache")).expect("the cache").flatten();
        let files = engines.flat_map(|engine| fs::read_dir(engine.path()).expect("compiled code").flatten());
        files.filter(|file| file.path().extension().is_some_and(|extension| extension == "cwasm")).count()
    }
}

fn limits(fuel: u64) -> Limits {
    let text = "[agents.a]\ncomponent = \"a.wasm\"\n";
    let config = config::parse(text, "agents.toml", Path::new("/"), &NoEnvironment).expect("settings");
    Limits { fuel, ..config.agents.values().next().expect("an agent").limits }
}

/// Plenty, and a loop is through it at once.
const FUEL: u64 = 50_000_000;

#[test]
fn examples_that_say_what_they_expect_are_run_and_others_are_not() {
    let bench = Bench::new("hostile");
    let run = |examples: &[(&str, Option<&str>)]| bench.run(FUEL, examples);
    assert_eq!(run(&[]), Ok(()));
    assert_eq!(run(&[("panic now", None), ("echo Hello World", Some("Hello"))]), Ok(()));
    // Each has a sandbox of its own, and the agent's settings.
    assert_eq!(run(&[("count", Some("1")), ("count", Some("1")), ("config city", Some("Berlin"))]), Ok(()));
    let wrong = run(&[("echo Hello World", Some("hello"))]).expect_err("its case differs").to_string();
    for word in ["`echo Hello World`", "contains `hello`", "answered `Hello World`", "`handle`", "`expected`"]
    {
        assert!(wrong.contains(word), "{word} is not in: {wrong}");
    }
}

#[test]
fn one_that_fails_says_how_and_what_to_change() {
    let bench = Bench::new("hostile");
    for (task, words) in [
        ("panic boom", &["`panic boom`", "boom", "`handle`"][..]),
        ("fail unavailable the sea is rough", &["the sea is rough"]),
        ("system memory", &["needs `system`", "refused", "leave the example's `expected` out"]),
        ("loop", &["fuel of 50000000"]),
        ("huge-output 5000000", &["limit is 1048576"]),
    ] {
        let error = bench.run(FUEL, &[(task, Some("fine"))]).expect_err(task).to_string();
        for word in words {
            assert!(error.contains(word), "{word} is not in: {error}");
        }
    }
    let long = bench.run(FUEL, &[("huge-output 100000", Some("y"))]).expect_err("no y").to_string();
    assert!(long.chars().count() < 1_000, "{long}");
}

#[test]
fn all_together_are_bounded() {
    let bench = Bench::new("hostile");
    let many = vec![("busy 30", Some("")); 20];
    let error = bench.run(u64::MAX, &many).expect_err("20 times 0.6 of the 5 thousand million allowed");
    assert!(matches!(error, SelfTestError::TooMuch { .. }), "{error}");
    // What comes after the first 32 is not run.
    let mut many = vec![("echo a", Some("a")); 32];
    many.push(("echo a", Some("b")));
    assert_eq!(bench.run(FUEL, &many), Ok(()));
}

#[test]
fn compiled_code_is_forgotten_when_it_is_told() {
    let bench = Bench::new("echo");
    assert_eq!(bench.cached(), 1);
    bench.engine.forget(&[Digest::of(b"another")]);
    assert_eq!(bench.cached(), 1);
    bench.engine.forget(&[bench.guest.digest()]);
    assert_eq!(bench.cached(), 0);
    // What is loaded runs on.
    assert_eq!(bench.run(FUEL, &[("hello", Some("hello"))]), Ok(()));
}
