//! What compiles take from each other: the same code, whatever was there before, and nothing from a compiler that somebody took over.

use std::collections::HashMap;
use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::functions::{Compiled, Functions, Key};
use super::super::incremental::Summary;
use super::*;
use crate::config::{Config, EngineConfig};

/// A component of functions that compute something with these numbers.
fn component(numbers: &[i32]) -> Vec<u8> {
    let function = |number: &i32| {
        format!(
            "(func (export \"f{number}\") (param i32) (result i32) (i32.mul (i32.add (local.get 0) (i32.const {number})) (local.get 0)))"
        )
    };
    let functions: String = numbers.iter().map(function).collect();
    let text = format!("(component (core module $m {functions}) (core instance (instantiate $m)))");
    wat::parse_str(text).expect("a component")
}

fn known(sources: &Sources) -> Known {
    let open = |path: &Option<PathBuf>| path.as_deref().map(|path| cache::open_own(path).expect("a file"));
    Known::open(open(&sources.own), open(&sources.shared))
}

fn compiled(component: &[u8], known: Known) -> Output {
    let file = Arc::new(scratch().expect("a file"));
    output::write(component, known, 1 << 20, &file).expect("compiled");
    Output::open(file.try_clone().expect("a file")).expect("it fits")
}

fn code(output: &Output) -> Vec<u8> {
    let mut code = Vec::new();
    output.code().and_then(|mut from| from.read_to_end(&mut code)).expect("compiled code");
    code
}

/// The functions that a compile gave, with their forms.
fn forms(output: &Output) -> HashMap<Key, Vec<u8>> {
    let (new, _, file) = output.functions().expect("functions");
    let form = |one: &Compiled| {
        let mut form = vec![0; one.length as usize];
        file.read_exact_at(&mut form, one.at).expect("its form");
        (one.key, form)
    };
    new.iter().map(form).collect()
}

struct Bench {
    data: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { data: tempfile::tempdir().expect("a folder") }
    }

    fn config() -> EngineConfig {
        EngineConfig { max_instances: 1, trial_instances: 1, ..Config::defaults(Path::new("/")).engine }
    }

    fn engine(&self, compiler: Compiler) -> Arc<Engine> {
        let handle = tokio::runtime::Handle::current();
        let engine = Engine::new(&Self::config(), Some(self.data.path()), compiler, Arc::default(), handle);
        Arc::new(engine.expect("an engine"))
    }

    /// A program in the place of the compiler.
    fn program(&self, text: &str) -> Compiler {
        let program = self.data.path().join("program");
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o700).open(&program).expect("a file");
        file.write_all(text.as_bytes()).expect("a script");
        Compiler::Child { program }
    }
}

/// Waits for what the background does.
async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_code_is_the_same_whatever_was_known() {
    let bench = Bench::new();
    let engine = bench.engine(Compiler::InProcess);
    let cache = engine.cache.as_ref().expect("a cache");
    let mut numbers: Vec<i32> = (1..=100).collect();
    let before = component(&numbers);
    numbers[50] = 1_000;
    let after = component(&numbers);
    // Cranelift knows some functions again only after it met them in other company.
    let is_known = |output: &Output| output.counts().1 > 2 * output.counts().0;

    let cold = compiled(&before, Known::default());
    let (all, none) = cold.counts();
    assert!(all >= 100 && none == 0);
    cache.keep_functions(Lineage::Shared, &cold);

    let warm = compiled(&before, known(&cache.sources(Some(Lineage::Shared))));
    assert!(is_known(&warm), "{:?}", warm.counts());
    assert_eq!(code(&warm), code(&cold));

    // One function was edited: it is compiled, and hardly another one.
    let edited = compiled(&after, known(&cache.sources(Some(Lineage::Shared))));
    assert!(edited.counts().0 >= 1 && is_known(&edited), "{:?}", edited.counts());
    assert_eq!(code(&edited), code(&compiled(&after, Known::default())));
    cache.keep_functions(Lineage::Shared, &edited);

    // Both versions are known from now on, in whatever lineage.
    let reads = cache.sources(Some(Lineage::Of(Digest::of(b"a child's"))));
    assert_eq!(reads.own, None);
    for version in [&before, &after] {
        assert!(is_known(&compiled(version, known(&reads))));
    }
}

#[tokio::test]
async fn what_a_compiler_that_was_taken_over_forges_reaches_its_own_component_alone() {
    let bench = Bench::new();
    let (hostile, victim) = (component(&[7]), component(&[1, 2, 3]));
    let honest = compiled(&victim, Known::default());
    let forged: HashMap<Key, Vec<u8>> =
        forms(&honest).into_iter().map(|(key, form)| (key, [b"forged".to_vec(), form].concat())).collect();

    // The output of a child that compiled its own component, and gives functions of another one.
    let mut file = fs::File::create(bench.data.path().join("given")).expect("a file");
    let mut summary = Summary::default();
    for (key, form) in &forged {
        file.write_all(form).expect("written");
        let length = u32::try_from(form.len()).expect("a length");
        summary.new.push(Compiled { key: *key, at: summary.end, length });
        summary.end += u64::from(length);
    }
    let own = code(&compiled(&hostile, Known::default()));
    output::finish(&summary, &own, b"", &file).expect("written");
    let given = bench.data.path().join("given");
    let script = format!("#!/bin/sh\n/bin/cat > /dev/null\nexec /bin/cat {}\n", given.display());

    let engine = bench.engine(bench.program(&script));
    let cache = engine.cache.as_ref().expect("a cache");
    for origin in [
        Origin::File(Path::new("/agents/hostile.wasm")),
        Origin::Request { by: "default/mallory", agent: "default/hostile" },
    ] {
        // It is no agent; its code was compiled, and kept, before that is seen.
        let refused = engine.load(hostile.clone().into(), Digest::of(&hostile), origin).await.err();
        assert!(matches!(refused, Some(LoadError::NotAnAgent { .. })), "{refused:?}");
        let there = eventually("its functions are kept", || cache.sources(origin.lineage()).own).await;
        let kept = Functions::open(cache::open_own(&there).expect("a file")).expect("it is sound");
        assert!(forged.iter().all(|(key, form)| kept.get(key).as_ref() == Some(form)));
        cache.forget([&Digest::of(&hostile)]);
    }
    // Nobody else reads them: not the same key's other agents, not another key's for the same agent.
    for origin in [
        Origin::File(Path::new("/agents/victim.wasm")),
        Origin::Request { by: "default/mallory", agent: "default/victim" },
        Origin::Request { by: "default/alice", agent: "default/hostile" },
        Origin::Kept,
    ] {
        let reads = cache.sources(origin.lineage());
        assert!(reads.is_empty(), "{origin:?} reads {reads:?}");
    }
    // What is compiled in-process reads no child's.
    assert!(cache.sources(Some(Lineage::Shared)).is_empty());
    let here = bench.engine(Compiler::InProcess);
    let refused = here.load(victim.clone().into(), Digest::of(&victim), Origin::Kept).await;
    assert!(matches!(refused.err(), Some(LoadError::NotAnAgent { .. })));
    let cached = cache.files_of(&Digest::of(&victim));
    let (path, _) = cached.first().expect("its code is kept");
    assert_eq!(fs::read(path).expect("its code"), code(&honest));
}

#[tokio::test]
async fn where_the_compiler_fails_with_what_was_known_everything_is_compiled() {
    let bench = Bench::new();
    let given = bench.data.path().join("given");
    let file = fs::File::create(&given).expect("a file");
    let mut summary = Summary { end: 4, ..Summary::default() };
    summary.new.push(Compiled { key: [1; 32], at: 0, length: 4 });
    file.write_all_at(b"form", 0).expect("written");
    let of = component(&[7]);
    output::finish(&summary, &code(&compiled(&of, Known::default())), b"", &file).expect("written");
    let asked = bench.data.path().join("asked");
    let script = format!(
        "#!/bin/sh\n/bin/cat > /dev/null\ncase \"$2\" in\n*own_functions\\\":\\\"*) echo with >> {asked}; exit 3;;\n\
         *) echo without >> {asked}; exec /bin/cat {given};;\nesac\n",
        asked = asked.display(),
        given = given.display()
    );
    let engine = bench.engine(bench.program(&script));
    let cache = engine.cache.as_ref().expect("a cache");
    let origin = Origin::File(Path::new("/agents/one.wasm"));
    for number in [7, 8] {
        let version = component(&[number]);
        let result = engine.load(version.clone().into(), Digest::of(&version), origin).await.err();
        assert!(matches!(result, Some(LoadError::NotAnAgent { .. })), "{result:?}");
        eventually("its functions are kept", || cache.sources(origin.lineage()).own).await;
    }
    assert_eq!(fs::read_to_string(&asked).expect("what was asked"), "without\nwith\nwithout\n");
}

/// A host whose compiles may all read some functions, the file of those, and what is in it.
fn with_shared(bench: &Bench, compiler: Compiler) -> (Arc<Engine>, PathBuf, Vec<u8>) {
    let engine = bench.engine(compiler);
    let cache = engine.cache.as_ref().expect("a cache");
    cache.keep_functions(Lineage::Shared, &compiled(&component(&[1, 2, 3]), Known::default()));
    let path = cache.sources(None).shared.expect("functions");
    let content = fs::read(&path).expect("its content");
    (engine, path, content)
}

/// Which file this is: a file that is written again is another one.
fn inode(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").ino()
}

#[tokio::test]
async fn a_component_on_which_the_compiler_fails_takes_nothing_from_others() {
    let bench = Bench::new();
    let asked = bench.data.path().join("asked");
    let script = format!("#!/bin/sh\n/bin/cat > /dev/null\necho >> {}\nexit 3\n", asked.display());
    let (engine, shared, content) = with_shared(&bench, bench.program(&script));
    for agent in ["default/one", "default/two"] {
        let hostile = component(&[7]);
        let origin = Origin::Request { by: "default/mallory", agent };
        let failed = engine.load(hostile.clone().into(), Digest::of(&hostile), origin).await.err();
        assert!(matches!(failed, Some(LoadError::CompilerFailed(_))), "{failed:?}");
    }
    let asked = fs::read_to_string(&asked).expect("what was asked");
    assert_eq!(asked.lines().count(), 4, "with the functions, and without");
    assert_eq!(fs::read(&shared).expect("they are there still"), content);
}

#[tokio::test]
async fn what_a_compiler_that_was_taken_over_says_of_shared_functions_is_looked_at() {
    let bench = Bench::new();
    let hostile = component(&[7]);
    // It fails where it has functions to read, and says of them that they are damaged where it does not.
    let mut summary = Summary::default();
    summary.unsound.shared = true;
    let given = bench.data.path().join("given");
    let file = fs::File::create(&given).expect("a file");
    output::finish(&summary, &code(&compiled(&hostile, Known::default())), b"", &file).expect("written");
    let script = format!(
        "#!/bin/sh\n/bin/cat > /dev/null\ncase \"$2\" in *shared_functions\\\":\\\"*) exit 3;; esac\nexec /bin/cat {}\n",
        given.display()
    );
    let (engine, shared, content) = with_shared(&bench, bench.program(&script));
    let origin = Origin::Request { by: "default/mallory", agent: "default/hostile" };
    let before = inode(&shared);
    let load = || engine.load(hostile.clone().into(), Digest::of(&hostile), origin);
    assert!(matches!(load().await.err(), Some(LoadError::NotAnAgent { .. })));
    // It is looked at by whoever compiles: no more does so by now.
    let compiling = engine.config.compile_jobs.max(1);
    let all = engine.compiling.acquire_many(compiling).await.expect("permits");
    assert_eq!((inode(&shared), fs::read(&shared).expect("they are there still")), (before, content.clone()));
    drop(all);

    // Where it is true, what is damaged goes, and the rest stays.
    let mut harmed = content.clone();
    *harmed.last_mut().expect("a form") ^= 1;
    fs::write(&shared, &harmed).expect("harmed");
    engine.cache.as_ref().expect("a cache").forget([&Digest::of(&hostile)]);
    assert!(matches!(load().await.err(), Some(LoadError::NotAnAgent { .. })));
    let all = engine.compiling.acquire_many(compiling).await.expect("permits");
    let mended = fs::read(&shared).expect("they are there still");
    assert!(mended != harmed && mended.len() < content.len());
    drop(all);
}

#[tokio::test]
async fn functions_that_are_read_are_in_use() {
    let bench = Bench::new();
    let (engine, shared, _) = with_shared(&bench, Compiler::InProcess);
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(20 * 24 * 60 * 60);
    fs::File::open(&shared).and_then(|file| file.set_modified(long_ago)).expect("a time");
    let cache = engine.cache.as_ref().expect("a cache");
    assert!(cache.sources(Some(Lineage::Of(Digest::of(b"a child's")))).shared.is_some());
    let used = fs::metadata(&shared).and_then(|metadata| metadata.modified()).expect("a time");
    assert!(used > long_ago + Duration::from_secs(60 * 60));
}

#[tokio::test]
async fn little_that_is_new_has_little_written() {
    let bench = Bench::new();
    let engine = bench.engine(Compiler::InProcess);
    let cache = engine.cache.as_ref().expect("a cache");
    let own = Lineage::Of(Digest::of(b"a child's"));
    let keep = |number: u8, length: u32| {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&vec![number; length as usize], 0).expect("a form");
        let mut summary = Summary { end: length.into(), ..Summary::default() };
        summary.new.push(Compiled { key: [number; 32], at: 0, length });
        (&file).seek(std::io::SeekFrom::End(0)).expect("its end");
        output::finish(&summary, b"code", b"", &file).expect("written");
        cache.keep_functions(own, &Output::open(file).expect("it fits"));
        cache.sources(Some(own)).own.expect("functions")
    };
    let path = keep(1, 1 << 20);
    let first = inode(&path);
    keep(2, 1 << 10);
    assert_eq!(inode(&path), first, "a kilobyte has no megabyte written");
    keep(3, 1 << 16);
    assert_ne!(inode(&path), first);
    let there = Functions::open(cache::open_own(&path).expect("a file")).expect("it is sound");
    assert_eq!([1, 2, 3].map(|number: u8| there.get(&[number; 32]).is_some()), [true, false, true]);
}
