//! What goes from the folder of compiled code: what a crash left there, what nobody used for long, and what
//! is too much.
//!
//! It looks at names, sizes and times, over the folders of all engines that ever wrote there, and holds
//! nothing. Whoever maps a file that goes keeps what is mapped.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::domain::Digest;

/// What the name of a file that is being written begins with.
pub(super) const WRITING: &str = ".writing-";
/// Others may share the folder and be writing; nobody writes for so long.
const LEFT_BEHIND: Duration = Duration::from_secs(60 * 60);
/// Code that nobody loads for so long goes: components change, and `call` and `test` try many.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The same for other engines' code: another version of this program may share the folder.
const UNUSED_ELSEWHERE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Removes what a crash left half-written, what nobody used for long, and, while there is more than
/// `size` bytes, what was not used for longest. What this process uses stays: `in_use`, by the digests
/// in the names of files in `own_folder`. How many bytes are left.
pub(super) fn sweep(root: &Path, own_folder: &Path, size: u64, in_use: &HashSet<String>) -> u64 {
    let (mut total, mut kept) = (0_u64, Vec::new());
    for folder in entries(root).filter(|entry| is_engine(&entry.file_name())) {
        let folder = folder.path();
        let own = folder == own_folder;
        let unused = if own { UNUSED } else { UNUSED_ELSEWHERE };
        for (digest, code) in contents(&folder) {
            if own && in_use.contains(&digest) {
                total = total.saturating_add(code.bytes);
            } else if code.age() > unused {
                code.remove();
            } else {
                total = total.saturating_add(code.bytes);
                kept.push(code);
            }
        }
        let rests =
            fs::metadata(&folder).and_then(|found| found.modified()).is_ok_and(|at| age(at) > LEFT_BEHIND);
        if !own && rests {
            // It goes if nothing is in it.
            let _ = fs::remove_dir(&folder);
        }
    }
    kept.sort_by_key(|code| std::cmp::Reverse(code.used));
    while total > size
        && let Some(oldest) = kept.pop()
    {
        total = total.saturating_sub(oldest.bytes);
        oldest.remove();
    }
    total
}

/// What is in a folder; nothing if it cannot be read.
pub(super) fn entries(folder: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Whether a folder of this name is an engine's.
fn is_engine(name: &std::ffi::OsStr) -> bool {
    name.len() == 16 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
}

fn age(at: SystemTime) -> Duration {
    at.elapsed().unwrap_or_default()
}

/// The files of one component.
struct Code {
    used: SystemTime,
    bytes: u64,
    files: Vec<PathBuf>,
}

impl Code {
    fn age(&self) -> Duration {
        age(self.used)
    }

    fn remove(&self) {
        for file in &self.files {
            // What cannot be removed costs room, nothing else.
            let _ = fs::remove_file(file);
        }
    }
}

/// What is in an engine's folder, by the components' digests, once what a crash left half-written there
/// is removed: it would never be loaded, and never go.
fn contents(folder: &Path) -> HashMap<String, Code> {
    let mut found: HashMap<String, Code> = HashMap::new();
    for entry in entries(folder) {
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
        let Ok(modified) = metadata.modified() else { continue };
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(WRITING) {
            if age(modified) > LEFT_BEHIND {
                let _ = fs::remove_file(entry.path());
            }
            continue;
        }
        let digest = name.split('.').next().unwrap_or_default();
        // What has another name was not written by us.
        if Digest::from_hex(digest).is_none() || !metadata.is_file() {
            continue;
        }
        let code = found.entry(digest.to_owned()).or_insert(Code {
            used: SystemTime::UNIX_EPOCH,
            bytes: 0,
            files: Vec::new(),
        });
        code.used = code.used.max(modified);
        code.bytes = code.bytes.saturating_add(metadata.len());
        code.files.push(entry.path());
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::super::cache::{Cache, compatibility};
    use super::super::incremental::Known;
    use super::super::output::Output;
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn engine() -> wasmtime::Engine {
        wasmtime::Engine::new(&super::super::settings::compiling()).expect("an engine")
    }

    struct Bench {
        data: tempfile::TempDir,
        engine: wasmtime::Engine,
    }

    impl Bench {
        fn new() -> Self {
            Self { data: tempfile::tempdir().expect("a folder"), engine: engine() }
        }

        fn open(&self, size: u64) -> Cache {
            Cache::open(self.data.path(), &self.engine, size).expect("a cache")
        }

        /// A file of 100 bytes in an engine's folder that was last used so long ago.
        fn file(&self, engine: &str, name: &str, unused: Duration) -> PathBuf {
            let folder = self.data.path().join("cache").join(engine);
            fs::create_dir_all(&folder).expect("a folder");
            let path = folder.join(name);
            fs::write(&path, [0; 100]).expect("a file");
            let file = File::open(&path).expect("a file");
            file.set_modified(SystemTime::now() - unused).expect("its time");
            path
        }

        fn own(&self) -> String {
            format!("{:016x}", compatibility(&self.engine))
        }
    }

    fn name(number: u8) -> String {
        format!("{}.{}.cwasm", Digest::of(&[number]), Digest::of(b"content"))
    }

    fn functions(number: u8) -> String {
        format!("{}.functions", Digest::of(&[number]))
    }

    #[test]
    fn what_nobody_uses_goes_and_what_may_be_in_use_stays() {
        let bench = Bench::new();
        let (own, other) = (bench.own(), "0123456789abcdef");
        let lines = format!("{}.lines", Digest::of(&[1]));
        let stays = [
            bench.file(&own, &name(1), 29 * DAY),
            bench.file(&own, &lines, 300 * DAY),
            bench.file(&own, &functions(3), 29 * DAY),
            bench.file(other, &name(1), 6 * DAY),
            bench.file(&own, ".writing-now", Duration::ZERO),
            bench.file(other, ".writing-now", Duration::ZERO),
            bench.file(&own, "a note of somebody's", 300 * DAY),
            bench.file("not-an-engine", &name(1), 300 * DAY),
        ];
        let goes = [
            bench.file(&own, &name(2), 31 * DAY),
            bench.file(&own, &functions(4), 31 * DAY),
            bench.file(other, &functions(4), 8 * DAY),
            bench.file(&own, &format!("{}.lines", Digest::of(&[2])), 31 * DAY),
            bench.file(other, &name(2), 8 * DAY),
            bench.file(&own, ".writing-then", 2 * HOUR),
            bench.file("fedcba9876543210", ".writing-then", 2 * HOUR),
        ];
        let empty = bench.data.path().join("cache/fedcba9876543210");
        bench.open(1 << 30);
        for path in stays {
            assert!(path.exists(), "{path:?}");
        }
        for path in goes {
            assert!(!path.exists(), "{path:?}");
        }
        // Somebody may just be about to write there.
        assert!(empty.exists());
        File::open(&empty)
            .and_then(|folder| folder.set_modified(SystemTime::now() - 2 * HOUR))
            .expect("its time");
        bench.open(1 << 30);
        assert!(!empty.exists());
    }

    #[test]
    fn where_there_is_too_much_what_was_not_used_for_longest_goes_first() {
        let bench = Bench::new();
        let (own, other) = (bench.own(), "0123456789abcdef");
        let oldest = bench.file(other, &name(1), 3 * DAY);
        let older = bench.file(&own, &functions(2), 2 * DAY);
        let newer = bench.file(&own, &name(3), DAY);
        let newest = bench.file(other, &name(4), HOUR);
        let there = || [&oldest, &older, &newer, &newest].map(|path| path.exists());
        bench.open(400);
        assert_eq!(there(), [true; 4]);
        bench.open(250);
        assert_eq!(there(), [false, false, true, true]);
    }

    #[test]
    fn what_this_process_uses_stays_however_much_it_is() {
        let bench = Bench::new();
        let cache = bench.open(150);
        let text = |name: &str| format!("(component (core module (func (export {name:?}))))");
        let mut stored = Vec::new();
        for name in ["one", "two"] {
            let file = Arc::new(super::super::output::scratch().expect("a file"));
            let component = wat::parse_str(text(name)).expect("a component");
            super::super::output::write(&component, Known::default(), 0, &file).expect("compiled");
            let digest = Digest::of(&component);
            let output = Output::open(file.try_clone().expect("a file")).expect("compiled");
            cache.store(&bench.engine, &digest, &output).expect("it fits").expect("it is kept");
            stored.push(digest);
        }
        for digest in &stored {
            assert_eq!(cache.files_of(digest).len(), 1);
            assert!(cache.load(&bench.engine, digest).expect("it fits").is_some());
        }
        cache.forget([&stored[0]]);
        assert_eq!(cache.files_of(&stored[0]), []);
        // Another process has used nothing yet.
        bench.open(150);
        assert_eq!(cache.files_of(&stored[1]), []);
    }
}
