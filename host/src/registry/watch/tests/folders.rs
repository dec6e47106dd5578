//! Folders and links: what happens on the way to a file.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_folder_that_does_not_exist_yet_is_watched_when_it_does() {
    let mut bench = Bench::new(EVENTS);
    let [file] = bench.files(["not/there/yet/a.wasm"]);
    fs::create_dir_all(bench.at("not/there/yet")).expect("folders");
    fs::write(&file, "first").expect("a file");
    bench.expect_content(&file, b"first");
    fs::write(&file, "second").expect("a file");
    bench.expect_content(&file, b"second");
}

#[test]
fn a_folder_that_is_deleted_and_made_again_is_watched_again() {
    let mut bench = Bench::new(EVENTS);
    fs::create_dir(bench.at("release")).expect("a folder");
    fs::write(bench.at("release/a.wasm"), "old").expect("a file");
    let [file] = bench.files(["release/a.wasm"]);
    for turn in ["one", "two", "three"] {
        fs::remove_dir_all(bench.at("release")).expect("it goes");
        fs::create_dir(bench.at("release")).expect("it comes back");
        fs::write(&file, turn).expect("a file");
        bench.expect_content(&file, turn.as_bytes());
        let again = format!("{turn} again");
        fs::write(&file, &again).expect("a file");
        bench.expect_content(&file, again.as_bytes());
    }
}

#[test]
fn a_folder_that_somebody_holds_open_is_still_watched_again() {
    let mut bench = Bench::new(EVENTS);
    fs::create_dir(bench.at("release")).expect("a folder");
    let [file] = bench.files(["release/a.wasm"]);
    let held = fs::File::open(bench.at("release")).expect("the folder");
    fs::remove_dir(bench.at("release")).expect("it goes");
    fs::create_dir(bench.at("release")).expect("it comes back");
    fs::write(&file, "one").expect("a file");
    bench.expect_content(&file, b"one");
    drop(held);
    fs::write(&file, "two").expect("a file");
    bench.expect_content(&file, b"two");
}

#[test]
fn a_folder_that_is_renamed_away_and_back_is_watched_again() {
    let mut bench = Bench::new(EVENTS);
    fs::create_dir_all(bench.at("a/b")).expect("folders");
    fs::write(bench.at("a/b/a.wasm"), "old").expect("a file");
    let [file] = bench.files(["a/b/a.wasm"]);
    fs::rename(bench.at("a"), bench.at("away")).expect("it moves");
    bench.expect([&file]);
    fs::write(bench.at("away/b/a.wasm"), "not ours").expect("a file");
    fs::rename(bench.at("away"), bench.at("a")).expect("it moves back");
    bench.expect_content(&file, b"not ours");
    fs::write(&file, "new").expect("a file");
    bench.expect_content(&file, b"new");
    // Another folder takes the place of one on the way.
    fs::create_dir_all(bench.at("next/b")).expect("folders");
    fs::write(bench.at("next/b/a.wasm"), "swapped").expect("a file");
    fs::rename(bench.at("a"), bench.at("old")).expect("the old one goes");
    fs::rename(bench.at("next"), bench.at("a")).expect("the next one comes");
    bench.expect_content(&file, b"swapped");
    fs::write(&file, "newer").expect("a file");
    bench.expect_content(&file, b"newer");
}

#[test]
fn the_target_of_a_link_is_watched() {
    let mut bench = Bench::new(AT_ONCE);
    fs::create_dir(bench.at("real")).expect("a folder");
    fs::write(bench.at("real/a.wasm"), "old").expect("a file");
    symlink("real/a.wasm", bench.at("a.wasm")).expect("a link");
    let [file] = bench.files(["a.wasm"]);
    fs::write(bench.at("real/a.wasm"), "new").expect("a file");
    bench.expect_content(&file, b"new");
}

#[test]
fn a_link_that_is_swapped_is_reported_at_once_and_its_new_target_watched() {
    let mut bench = Bench::new(AT_ONCE);
    for version in ["v1", "v2", "v3"] {
        fs::create_dir(bench.at(version)).expect("a folder");
        fs::write(bench.at(version).join("a.wasm"), version).expect("a file");
    }
    symlink("v1/a.wasm", bench.at("a.wasm")).expect("a link");
    let [file] = bench.files(["a.wasm"]);
    // As `ln -sfn` does.
    symlink("v2/a.wasm", bench.at("next")).expect("a link");
    fs::rename(bench.at("next"), &file).expect("it is swapped");
    bench.expect_content(&file, b"v2");
    fs::write(bench.at("v2/a.wasm"), "v2, changed").expect("a file");
    bench.expect_content(&file, b"v2, changed");
    // And without care.
    fs::remove_file(&file).expect("it goes");
    symlink("v3/a.wasm", &file).expect("a link");
    bench.expect_content(&file, b"v3");
}

#[test]
fn a_mounted_config_map_is_followed_through_its_swap() {
    let mut bench = Bench::new(AT_ONCE);
    let publish = |bench: &Bench, version: &str| {
        let folder = bench.at(&format!("mount/..{version}"));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("a.wasm"), version).expect("a file");
        symlink(format!("..{version}"), bench.at("mount/..data_tmp")).expect("a link");
        fs::rename(bench.at("mount/..data_tmp"), bench.at("mount/..data")).expect("it is swapped");
    };
    publish(&bench, "2026_01");
    symlink("..data/a.wasm", bench.at("mount/a.wasm")).expect("a link");
    let [file] = bench.files(["mount/a.wasm"]);
    for version in ["2026_02", "2026_03"] {
        publish(&bench, version);
        bench.expect_content(&file, version.as_bytes());
    }
    fs::remove_dir_all(bench.at("mount/..2026_01")).expect("the old one goes");
    publish(&bench, "2026_04");
    bench.expect_content(&file, b"2026_04");
}

#[test]
fn a_link_to_a_folder_on_the_way_can_be_swapped() {
    let mut bench = Bench::new(AT_ONCE);
    for release in ["r1", "r2"] {
        fs::create_dir_all(bench.at(release).join("plugins")).expect("folders");
        fs::write(bench.at(release).join("plugins/a.wasm"), release).expect("a file");
    }
    symlink(bench.at("r1"), bench.at("current")).expect("a link");
    let [file] = bench.files(["current/plugins/a.wasm"]);
    symlink(bench.at("r2"), bench.at("next")).expect("a link");
    fs::rename(bench.at("next"), bench.at("current")).expect("it is swapped");
    bench.expect_content(&file, b"r2");
    fs::write(bench.at("r2/plugins/a.wasm"), "newer").expect("a file");
    bench.expect_content(&file, b"newer");
}

#[test]
fn a_link_to_nothing_is_watched_until_its_target_comes() {
    let mut bench = Bench::new(EVENTS);
    symlink("to/come/a.wasm", bench.at("a.wasm")).expect("a link");
    let [file] = bench.files(["a.wasm"]);
    fs::create_dir_all(bench.at("to/come")).expect("folders");
    fs::write(bench.at("to/come/a.wasm"), "here").expect("a file");
    bench.expect_content(&file, b"here");
}

#[test]
fn a_folder_that_vanished_without_an_event_is_watched_again() {
    let mut bench = Bench::new(EVENTS);
    fs::create_dir(bench.at("mount")).expect("a folder");
    fs::write(bench.at("mount/a.wasm"), "old").expect("a file");
    let looking = Timing { poll: Some(Duration::from_millis(50)), ..EVENTS };
    (bench.watch, bench.changes) = Watch::with(looking, deaf_to_folders).expect("a watch");
    let [file] = bench.files(["mount/a.wasm"]);
    // Unmounting a file system tells nobody either: the folder of that name is another one.
    fs::rename(bench.at("mount"), bench.at("unmounted")).expect("it goes");
    fs::create_dir(bench.at("mount")).expect("what was below it");
    fs::write(&file, "below").expect("a file");
    bench.expect_content(&file, b"below");
    fs::write(&file, "newer").expect("a file");
    bench.expect_content(&file, b"newer");
}

/// A file system that is gone when the value is.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where whoever runs the tests may not mount.
    fn at(folder: PathBuf, arguments: &[&str]) -> Option<Self> {
        let mounted = std::process::Command::new("mount").args(arguments).arg(&folder).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_file_system_that_is_mounted_and_unmounted_is_noticed() {
    let looking = Timing { poll: Some(Duration::from_millis(50)), ..EVENTS };
    let mut bench = Bench::new(looking);
    fs::create_dir(bench.at("mount")).expect("a folder");
    fs::write(bench.at("mount/a.wasm"), "below").expect("a file");
    let [file] = bench.files(["mount/a.wasm"]);
    let Some(mounted) = Mounted::at(bench.at("mount"), &["-t", "tmpfs", "none"]) else { return };
    fs::write(&file, "mounted").expect("a file");
    bench.expect_content(&file, b"mounted");
    bench.settle();
    drop(mounted);
    bench.expect_content(&file, b"below");
    fs::write(&file, "below, changed").expect("a file");
    bench.expect_content(&file, b"below, changed");
}

#[test]
fn a_folder_with_two_names_is_noticed_under_both() {
    let looking = Timing { poll: Some(Duration::from_millis(50)), ..EVENTS };
    let mut bench = Bench::new(looking);
    for folder in ["real", "bound"] {
        fs::create_dir(bench.at(folder)).expect("a folder");
    }
    let real = bench.at("real").display().to_string();
    let Some(_bound) = Mounted::at(bench.at("bound"), &["--bind", &real]) else { return };
    let [one, other] = bench.files(["real/a.wasm", "bound/a.wasm"]);
    for turn in ["first", "second"] {
        fs::write(&one, turn).expect("a file");
        bench.expect([&one, &other]);
        bench.settle();
    }
}

/// Passes on only what happened to files: nothing tells that a folder was replaced.
fn deaf_to_folders(inbox: Inbox) -> impl EventHandler {
    move |event: notify::Result<Event>| {
        if event.as_ref().is_ok_and(|event| event.paths.iter().any(|path| path.ends_with("a.wasm"))) {
            inbox.push(event);
        }
    }
}

#[test]
fn paths_with_dots_and_relative_ones_are_reported_as_they_were_given() {
    let mut bench = Bench::new(AT_ONCE);
    fs::create_dir(bench.at("sub")).expect("a folder");
    let [file] = bench.files(["sub/../a.wasm"]);
    fs::write(bench.at("a.wasm"), "new").expect("a file");
    bench.expect([&file]);
    let here = std::env::current_dir().expect("the current folder");
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(bench.at("b.wasm").strip_prefix("/").expect("an absolute path"));
    assert_eq!(bench.watch.files([relative.clone()]), []);
    fs::write(bench.at("b.wasm"), "new").expect("a file");
    bench.expect([&relative]);
}

#[test]
fn what_cannot_be_watched_is_said_with_the_remedy() {
    let error = notify::Error::new(notify::ErrorKind::MaxFilesWatch);
    let reason = worker::reason(&error).expect("it is a problem");
    assert!(reason.contains("fs.inotify.max_user_watches"), "{reason}");
    let problem = WatchProblem { folder: PathBuf::from("/plugins"), reason };
    assert!(problem.to_string().contains("/plugins"), "{problem}");
    let closed = notify::Error::io(std::io::ErrorKind::PermissionDenied.into());
    assert!(worker::reason(&closed).is_some_and(|reason| reason.contains("right to read")));
}
