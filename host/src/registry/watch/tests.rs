//! What editors, linkers, copies and operators do to files, done on a real file system.
//!
//! Where an event has to tell, looking is switched off, so that it cannot stand in for the event.

mod folders;
mod trees;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use notify::event::Flag;
use tempfile::TempDir;

use super::*;

/// The end of every wait: a machine may be busy, a test may not hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// Longer than a test may take.
const LONG: Duration = Duration::from_secs(600);

/// Waits as the host does, without looking.
const EVENTS: Timing =
    Timing { quiet: Duration::from_millis(200), patience: Duration::from_secs(2), writer: LONG, poll: None };

/// Reports only what rests for longer than a test may take: what is reported was reported at once.
const AT_ONCE: Timing = Timing { quiet: LONG, patience: LONG, writer: LONG, poll: None };

/// A folder, a watch, and what it reports.
struct Bench {
    folder: TempDir,
    watch: Watch,
    changes: Changes,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new(timing: Timing) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (watch, changes) = Watch::with(timing, |inbox| move |event| inbox.push(event)).expect("a watch");
        Self { folder: tempfile::tempdir().expect("a folder"), watch, changes, runtime }
    }

    /// A path in the folder.
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Watches these files in the folder.
    fn files<const N: usize>(&self, names: [&str; N]) -> [PathBuf; N] {
        let paths = names.map(|name| self.at(name));
        assert_eq!(self.watch.files(paths.clone()), []);
        paths
    }

    /// The next report, if it comes before `wait` has passed.
    fn within(&mut self, wait: Duration) -> Option<BTreeSet<PathBuf>> {
        let next = async { tokio::time::timeout(wait, self.changes.next()).await };
        self.runtime.block_on(next).ok().map(|changes| changes.expect("the watch is alive"))
    }

    /// Waits until each of these was reported.
    #[track_caller]
    fn expect<'a>(&mut self, paths: impl IntoIterator<Item = &'a PathBuf>) {
        let mut missing: BTreeSet<&PathBuf> = paths.into_iter().collect();
        let deadline = Instant::now() + DEADLINE;
        while !missing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(changes) = self.within(left) else { panic!("nobody reported {missing:?}") };
            missing.retain(|path| !changes.contains(*path));
        }
    }

    /// Waits until a report comes when the file holds this: then it was made after the writing.
    #[track_caller]
    fn expect_content(&mut self, path: &Path, content: &[u8]) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(changes) = self.within(left) else { panic!("nobody reported the last content") };
            if changes.contains(path) && fs::read(path).is_ok_and(|found| found == content) {
                return;
            }
        }
    }

    /// Takes the reports that are still to come for what was done so far, as far as a quiet moment
    /// can tell: what is asserted next holds without it, but says more with it.
    fn settle(&mut self) {
        while self.within(Duration::from_millis(600)).is_some() {}
    }

    /// Asserts that none of `paths` is reported before what happened to `witness` afterwards is.
    #[track_caller]
    fn expect_only(&mut self, witness: &PathBuf, paths: &[&PathBuf]) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let changes = self.within(left).expect("the witness is reported");
            for path in paths {
                assert!(!changes.contains(*path), "{} did not change", path.display());
            }
            if changes.contains(witness) {
                return;
            }
        }
    }
}

#[test]
fn a_file_that_is_closed_after_writing_is_reported_at_once() {
    let mut bench = Bench::new(AT_ONCE);
    fs::write(bench.at("a.wasm"), "old").expect("a file");
    let [file] = bench.files(["a.wasm"]);
    fs::write(&file, "new").expect("a file");
    bench.expect([&file]);
}

#[test]
fn a_file_that_is_new_is_reported_at_once() {
    let mut bench = Bench::new(AT_ONCE);
    let [file] = bench.files(["a.wasm"]);
    fs::write(&file, "new").expect("a file");
    bench.expect([&file]);
}

#[test]
fn a_file_that_is_renamed_into_place_is_reported_at_once() {
    let mut bench = Bench::new(AT_ONCE);
    fs::write(bench.at("a.wasm"), "old").expect("a file");
    fs::create_dir(bench.at("elsewhere")).expect("a folder");
    let [file] = bench.files(["a.wasm"]);
    for part in [".a.wasm.tmp", "elsewhere/a.wasm"] {
        fs::write(bench.at(part), part).expect("a file");
        fs::rename(bench.at(part), &file).expect("it moves");
        bench.expect_content(&file, part.as_bytes());
    }
}

#[test]
fn a_file_that_is_linked_into_place_is_reported_at_once() {
    let mut bench = Bench::new(AT_ONCE);
    fs::create_dir(bench.at("deps")).expect("a folder");
    fs::write(bench.at("a.wasm"), "old").expect("a file");
    let [file] = bench.files(["a.wasm"]);
    // As cargo does.
    fs::write(bench.at("deps/a.wasm"), "new").expect("a file");
    fs::remove_file(&file).expect("it goes");
    fs::hard_link(bench.at("deps/a.wasm"), &file).expect("it is linked");
    bench.expect_content(&file, b"new");
}

#[test]
fn every_save_is_reported_the_first_and_the_fortieth() {
    let mut bench = Bench::new(AT_ONCE);
    let [file] = bench.files(["a.wasm"]);
    for save in 0..40 {
        let content = format!("save {save}");
        fs::write(&file, &content).expect("a file");
        bench.expect_content(&file, content.as_bytes());
    }
}

#[test]
fn vims_way_of_saving_is_reported() {
    let mut bench = Bench::new(EVENTS);
    fs::write(bench.at("a.wasm"), "old").expect("a file");
    let [file] = bench.files(["a.wasm"]);
    for save in ["one", "two", "three"] {
        fs::write(bench.at(".a.wasm.swp"), "swap").expect("a swap file");
        fs::write(bench.at("4913"), "").expect("a trial");
        fs::remove_file(bench.at("4913")).expect("the trial ends");
        fs::rename(&file, bench.at("a.wasm~")).expect("a backup");
        fs::write(&file, save).expect("a new file");
        fs::remove_file(bench.at("a.wasm~")).expect("the backup goes");
        fs::remove_file(bench.at(".a.wasm.swp")).expect("the swap file goes");
        bench.expect_content(&file, save.as_bytes());
    }
}

#[test]
fn files_beside_it_are_not_reported() {
    let mut bench = Bench::new(EVENTS);
    fs::write(bench.at("a.wasm"), "old").expect("a file");
    let [file, witness] = bench.files(["a.wasm", "witness"]);
    for beside in ["a.wasm~", "a.wasm.tmp", ".a.wasm.swp", "b.wasm", "a.was"] {
        fs::write(bench.at(beside), "x").expect("a file");
        fs::remove_file(bench.at(beside)).expect("it goes");
    }
    fs::write(&witness, "x").expect("a file");
    bench.expect_only(&witness, &[&file]);
}

#[test]
fn a_file_that_goes_and_comes_back_is_reported_both_times() {
    let mut bench = Bench::new(EVENTS);
    fs::write(bench.at("a.wasm"), "old").expect("a file");
    let [file] = bench.files(["a.wasm"]);
    for turn in ["one", "two"] {
        fs::remove_file(&file).expect("it goes");
        bench.expect([&file]);
        fs::write(&file, turn).expect("it comes back");
        bench.expect_content(&file, turn.as_bytes());
    }
}

#[test]
fn reading_reports_nothing() {
    let mut bench = Bench::new(Timing { poll: Some(Duration::from_millis(50)), ..EVENTS });
    fs::write(bench.at("a.wasm"), "old").expect("a file");
    let [file, witness] = bench.files(["a.wasm", "witness"]);
    for _ in 0..50 {
        fs::read(&file).expect("it is read");
        fs::read_dir(bench.folder.path()).expect("the folder is read").for_each(drop);
    }
    bench.settle();
    fs::read(&file).expect("it is read");
    fs::write(&witness, "x").expect("a file");
    bench.expect_only(&witness, &[&file]);
}

#[test]
fn touching_a_file_keeps_it_watched() {
    let mut bench = Bench::new(EVENTS);
    fs::write(bench.at("a.wasm"), "old").expect("a file");
    let [file] = bench.files(["a.wasm"]);
    let touched = OpenOptions::new().append(true).open(&file).expect("the file");
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("it is touched");
    drop(touched);
    fs::write(&file, "new").expect("a file");
    bench.expect_content(&file, b"new");
}

#[test]
fn a_file_that_becomes_readable_is_reported() {
    use std::os::unix::fs::PermissionsExt;
    let mut bench = Bench::new(EVENTS);
    fs::write(bench.at("a.wasm"), "old").expect("a file");
    fs::set_permissions(bench.at("a.wasm"), fs::Permissions::from_mode(0o000)).expect("closed");
    let [file] = bench.files(["a.wasm"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("open");
    bench.expect([&file]);
}

#[test]
fn a_slow_copy_is_reported_when_it_is_whole() {
    let mut bench = Bench::new(EVENTS);
    let [file] = bench.files(["a.wasm"]);
    let content: Vec<u8> = (0..18 << 20).map(|index: u32| (index % 251) as u8).collect();
    let mut copy = fs::File::create(&file).expect("a file");
    for chunk in content.chunks(1 << 20) {
        copy.write_all(chunk).expect("a chunk");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(copy);
    bench.expect_content(&file, &content);
}

#[test]
fn a_file_that_is_written_without_pause_is_not_postponed_for_ever() {
    let mut bench = Bench::new(EVENTS);
    let [file] = bench.files(["a.wasm"]);
    let mut endless = fs::File::create(&file).expect("a file");
    let deadline = Instant::now() + DEADLINE;
    while bench.within(Duration::ZERO).is_none() {
        assert!(Instant::now() < deadline, "it is not reported as long as it is written");
        endless.write_all(b"more").expect("more");
        std::thread::sleep(Duration::from_millis(5));
    }
    endless.write_all(b"the last").expect("more");
    let content = fs::read(&file).expect("the file");
    bench.expect_content(&file, &content);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_has_to_be_whole_is_reported_when_its_writer_closes_it() {
    let mut bench = Bench::new(EVENTS);
    // Before the folder is watched: nothing is told of this writer any more.
    let file = bench.at("agents.toml");
    fs::write(&file, "old").expect("a file");
    let [witness] = bench.files(["witness"]);
    assert_eq!(bench.watch.whole([file.clone()]), []);
    let mut writer = OpenOptions::new().write(true).truncate(true).open(&file).expect("a file");
    writer.write_all(b"half").expect("a part");
    // Another file rests for as long as this one would have to, and is reported.
    let mut other = OpenOptions::new().create(true).append(true).open(&witness).expect("a file");
    for _ in 0..3 {
        other.write_all(b"x").expect("a byte");
        bench.expect_only(&witness, &[&file]);
    }
    writer.write_all(b", and the other half").expect("the rest");
    drop(writer);
    bench.expect_content(&file, b"half, and the other half");
    // One that is put in place is whole, too; and so is one that goes.
    fs::write(bench.at("aside"), "next").expect("a file");
    fs::rename(bench.at("aside"), &file).expect("renamed");
    bench.expect_content(&file, b"next");
}

#[test]
fn a_file_that_is_written_and_never_closed_is_reported() {
    let mut bench = Bench::new(EVENTS);
    let [file] = bench.files(["a.wasm"]);
    let mut open = fs::File::create(&file).expect("a file");
    open.write_all(b"all of it").expect("a write");
    bench.expect_content(&file, b"all of it");
}

#[test]
fn a_burst_of_files_is_reported_to_the_last_one() {
    let mut bench = Bench::new(AT_ONCE);
    let paths: Vec<PathBuf> = (0..200).map(|index| bench.at(&format!("{index}.wasm"))).collect();
    assert_eq!(bench.watch.files(paths.clone()), []);
    for path in &paths {
        fs::write(path, "new").expect("a file");
    }
    bench.expect(&paths);
}

#[test]
fn after_any_writes_the_last_content_is_reported() {
    let mut bench = Bench::new(EVENTS);
    let [file] = bench.files(["a.wasm"]);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for round in 0..25 {
        let content = format!("round {round}");
        for step in 0..random(6) {
            let part = bench.at(&format!("part {step}"));
            match random(7) {
                0 => drop(fs::remove_file(&file)),
                1 => fs::write(&file, &content[..2]).expect("a write"),
                2 => {
                    fs::write(&part, "other").expect("a write");
                    fs::rename(&part, &file).expect("a rename");
                }
                3 => drop(fs::rename(&file, &part)),
                4 => {
                    drop(OpenOptions::new().append(true).open(&file).map(|mut file| file.write_all(b"more")))
                }
                5 => {
                    let _ = fs::remove_file(&file);
                    std::os::unix::fs::symlink("part 0", &file).expect("a link");
                }
                _ => std::thread::sleep(Duration::from_millis(random(250))),
            }
            if random(3) == 0 {
                bench.within(Duration::ZERO);
            }
        }
        // What was reported so far says nothing of what is written from here on.
        bench.within(Duration::ZERO);
        // A link may lead to nothing that can be written.
        let _ = fs::remove_file(&file);
        match random(3) {
            0 => fs::write(&file, &content).expect("the last write"),
            1 => {
                fs::write(bench.at("last"), &content).expect("the last write");
                fs::rename(bench.at("last"), &file).expect("the last rename");
            }
            _ => {
                let mut pieces = fs::File::create(&file).expect("the last file");
                for byte in content.as_bytes() {
                    pieces.write_all(&[*byte]).expect("a piece");
                }
            }
        }
        bench.expect_content(&file, content.as_bytes());
    }
}

#[test]
fn a_queue_that_ran_over_makes_everything_change() {
    let mut bench = Bench::new(AT_ONCE);
    fs::create_dir(bench.at("other")).expect("a folder");
    for name in ["a.wasm", "other/b.wasm"] {
        fs::write(bench.at(name), "old").expect("a file");
    }
    let [a, b] = bench.files(["a.wasm", "other/b.wasm"]);
    let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
    bench.watch.messages.send(Message::Event(overflow)).expect("it is taken");
    bench.expect([&a, &b]);
    fs::write(&b, "new").expect("a file");
    bench.expect_content(&b, b"new");
}

#[test]
fn what_the_kernel_could_not_queue_is_found() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("the kernel's limit");
    let limit: usize = limit.trim().parse().expect("a number");
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let stalled = gate.clone();
    let with_gate = |inbox: Inbox| {
        move |event| {
            drop(stalled.lock());
            inbox.push(event);
        }
    };
    let mut bench = Bench::new(AT_ONCE);
    (bench.watch, bench.changes) = Watch::with(AT_ONCE, with_gate).expect("a watch");
    fs::write(bench.at("a.wasm"), "old").expect("a file");
    let [file] = bench.files(["a.wasm"]);
    let noise = bench.at("noise");
    for _ in 0..limit {
        fs::write(&noise, "x").expect("a file");
        fs::remove_file(&noise).expect("it goes");
    }
    fs::write(&file, "lost").expect("a file");
    drop(closed);
    bench.expect_content(&file, b"lost");
    fs::write(&file, "new").expect("a file");
    bench.expect_content(&file, b"new");
}

#[test]
fn a_change_without_an_event_is_found_by_looking() {
    let mut bench = Bench::new(Timing { poll: Some(Duration::from_millis(50)), ..EVENTS });
    fs::create_dir(bench.at("other")).expect("a folder");
    fs::write(bench.at("other/a.wasm"), "old").expect("a file");
    fs::hard_link(bench.at("other/a.wasm"), bench.at("a.wasm")).expect("a second name");
    let [file] = bench.files(["a.wasm"]);
    // Events name only the folder through which it was written.
    fs::write(bench.at("other/a.wasm"), "new").expect("a write");
    bench.expect_content(&file, b"new");
}

#[test]
fn a_new_set_replaces_the_last_one() {
    let mut bench = Bench::new(AT_ONCE);
    let [first] = bench.files(["first/a.wasm"]);
    let [second] = bench.files(["second/a.wasm"]);
    for file in [&first, &second] {
        fs::create_dir(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, "x").expect("a file");
    }
    bench.expect_only(&second, &[&first]);
}

#[test]
fn the_end_of_the_watch_is_told() {
    let bench = Bench::new(EVENTS);
    let (watch, mut changes) = (bench.watch, bench.changes);
    drop(watch);
    assert_eq!(bench.runtime.block_on(changes.next()), None);
}
