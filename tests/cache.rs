//! Compiled code on disk: reused, and discarded when it is damaged or belongs to another user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use stockade::domain::Digest;
use tempfile::TempDir;

use crate::support::guests;
use crate::support::server::{Server, Start};

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
        let mut files = Vec::new();
        let mut folders = vec![self.data().join("cache")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        files
    }
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
