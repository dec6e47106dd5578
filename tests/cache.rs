//! Compiled code and functions on disk: reused, and discarded when they are damaged or belong to another user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use stockade::domain::Digest;
use tempfile::TempDir;

use crate::support::command::stockade;
use crate::support::fleet::variant;
use crate::support::server::{Server, Start};
use crate::support::{guests, poll_until};

/// A folder with an agents.toml for one agent, and nothing compiled.
struct Cold(TempDir);

impl Cold {
    fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let fleet = format!("{settings}[agents.echo]\ncomponent = \"<echo>\"\n");
        fs::write(folder.path().join("agents.toml"), guests::settings(&fleet)).expect("agents.toml");
        Self(folder)
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Starts a host, has it answer, stops it; what it logged.
    fn run(&self) -> String {
        let server: Server = Start::file(&self.0.path().join("agents.toml"), &self.data()).serve();
        server.call("echo", "hello").expect(200);
        server.terminate();
        let (status, log) = server.ended();
        assert!(status.success(), "{log}");
        log
    }

    /// The files of compiled code.
    fn files(&self) -> Vec<PathBuf> {
        cached(&self.data(), "cwasm")
    }
}

/// The files of this kind in the cache of a data folder.
fn cached(data: &Path, kind: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![data.join("cache")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == kind) {
                files.push(path);
            }
        }
    }
    files
}

fn compiled(log: &str) -> bool {
    log.contains("compiled a component")
}

fn discarded(log: &str) -> bool {
    log.contains("discarded compiled code; compiling again")
}

#[test]
fn the_second_start_compiles_nothing() {
    let cold = Cold::new("");
    let first = cold.run();
    assert!(compiled(&first) && !discarded(&first), "{first}");
    assert_eq!(cold.files().len(), 1, "{:?}", cold.files());
    let second = cold.run();
    assert!(!compiled(&second) && !discarded(&second), "{second}");
}

/// What is wrong with a file of compiled code.
type Harm = fn(&Path);

#[test]
fn what_is_wrong_is_discarded_said_and_compiled_again() {
    let harms: [(&str, Harm); 4] = [
        ("damaged", |file| {
            let mut bytes = fs::read(file).expect("compiled code");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            fs::write(file, bytes).expect("damaged");
        }),
        ("truncated", |file| {
            let bytes = fs::read(file).expect("compiled code");
            fs::write(file, &bytes[..bytes.len() / 3]).expect("truncated");
        }),
        ("empty", |file| fs::write(file, b"").expect("emptied")),
        ("foreign", |file| {
            // Its checksum is right, but wasmtime never wrote it.
            let stranger = b"\x7fELF, and then nothing that could be run";
            let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
            let digest = name.split('.').next().expect("a digest");
            fs::remove_file(file).expect("removed");
            let name = format!("{digest}.{}.cwasm", Digest::of(stranger));
            fs::write(file.with_file_name(name), stranger).expect("a stranger");
        }),
    ];
    let cold = Cold::new("");
    cold.run();
    for (name, harm) in harms {
        let files = cold.files();
        harm(files.first().expect("compiled code"));
        let log = cold.run();
        assert!(discarded(&log), "{name}: {log}");
        assert!(compiled(&log), "{name}: {log}");
        let log = cold.run();
        assert!(!compiled(&log) && !discarded(&log), "{name} was not mended: {log}");
    }
}

#[test]
fn the_folder_is_its_owners_alone_and_stays_so() {
    let cold = Cold::new("");
    cold.run();
    let mode = |path: &Path| fs::metadata(path).expect("a folder").permissions().mode() & 0o777;
    let cache = cold.data().join("cache");
    assert_eq!((mode(&cold.data()), mode(&cache)), (0o700, 0o700));
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("opened");
    let log = cold.run();
    assert_eq!(mode(&cache), 0o700);
    assert!(!compiled(&log), "{log}");
    // Agents' settings are in the data folder, beside the cache.
    fs::set_permissions(cold.data(), fs::Permissions::from_mode(0o755)).expect("opened");
    let log = cold.run();
    assert_eq!(mode(&cold.data()), 0o700);
    assert!(log.contains("others could look into the data folder"), "{log}");
}

#[test]
fn it_can_be_switched_off() {
    let cold = Cold::new("[engine]\ncache = false\n");
    for _ in 0..2 {
        assert!(compiled(&cold.run()));
    }
    assert_eq!(cold.files(), Vec::<PathBuf>::new());
}

/// An agent whose file is saved again and again, and a host that is started for each version.
struct Saved(TempDir);

/// How many functions of a version were compiled, and how many were known.
type Counts = (u64, u64);

impl Saved {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("agents.toml"), "[agents.echo]\ncomponent = \"echo.wasm\"\n")
            .expect("agents.toml");
        Self(folder)
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn save(&self, number: u8) {
        fs::write(self.0.path().join("echo.wasm"), variant(&guests::guest("echo"), number))
            .expect("a component");
    }

    /// Has a host compile this version, and waits until the functions are kept.
    fn serve(&self, number: u8, until: impl Fn(&Server, &Self) -> bool) -> Counts {
        self.save(number);
        let server: Server = Start::file(&self.0.path().join("agents.toml"), &self.data()).serve();
        server.call("echo", "hello").expect(200);
        let lines = server.log_lines("it is compiled", |line| line["message"] == "compiled a component");
        poll_until("its functions are kept", || until(&server, self).then_some(()));
        server.terminate();
        let (status, log) = server.ended();
        assert!(status.success(), "{log}");
        let count = |name: &str| lines[0][name].as_u64().unwrap_or_else(|| panic!("{:?}", lines[0]));
        (count("new"), count("known"))
    }

    fn functions(&self) -> Vec<PathBuf> {
        cached(&self.data(), "functions")
    }
}

#[test]
fn a_version_is_made_of_the_functions_of_the_one_before() {
    let saved = Saved::new();
    let kept = |_: &Server, saved: &Saved| saved.functions().len() == 1;
    let (first, known) = saved.serve(1, kept);
    assert!(first > 100 && known == 0, "{first} {known}");
    let (second, known) = saved.serve(2, kept);
    // Not all: Cranelift knows some functions again only after it met them in other company.
    assert!(known > second && second < first / 2, "{second} {known}");
}

#[test]
fn what_was_compiled_in_process_serves_every_compile() {
    let saved = Saved::new();
    saved.save(1);
    let config = saved.0.path().join("agents.toml");
    let config = config.to_str().expect("a path in UTF-8");
    fs::create_dir(saved.data()).expect("a folder");
    let called = stockade(["call", "--config", config, "echo", "hello"]);
    assert_eq!(called.code, 0, "{called:?}");
    // They are kept when the command ends.
    assert_eq!(saved.functions().len(), 1);
    let (new, known) = saved.serve(2, |_, _| true);
    assert!(known > 100 && known > new, "{new} {known}");
}

#[test]
fn functions_that_are_damaged_are_discarded_said_and_compiled_again() {
    let harms: [(&str, Harm); 5] = [
        ("a function", |file| {
            let mut bytes = fs::read(file).expect("functions");
            // Forms come after the index; most are used.
            let start = bytes.len() / 2;
            bytes[start..].iter_mut().for_each(|byte| *byte ^= 0xff);
            fs::write(file, bytes).expect("damaged");
        }),
        ("the index", |file| {
            let mut bytes = fs::read(file).expect("functions");
            bytes[100] ^= 0xff;
            fs::write(file, bytes).expect("damaged");
        }),
        ("truncated", |file| {
            let bytes = fs::read(file).expect("functions");
            fs::write(file, &bytes[..bytes.len() / 3]).expect("truncated");
        }),
        ("empty", |file| fs::write(file, b"").expect("emptied")),
        ("foreign", |file| fs::write(file, [b'x'; 10_000]).expect("a stranger's")),
    ];
    let saved = Saved::new();
    let kept = |_: &Server, saved: &Saved| saved.functions().len() == 1;
    let (all, _) = saved.serve(0, kept);
    for (number, (name, harm)) in harms.into_iter().enumerate() {
        let number = u8::try_from(number).expect("few") * 2;
        harm(&saved.functions()[0]);
        let said = |server: &Server, _: &Saved| server.log().contains("discarded compiled functions");
        let (new, known) =
            saved.serve(number + 1, |server, saved| said(server, saved) && saved.functions().len() == 1);
        assert!(new > 0, "{name}: {new} {known}");
        let (new, known) = saved.serve(number + 2, kept);
        assert!(known > new && new < all / 2, "{name} was not mended: {new} {known}");
    }
}
