//! Source trees: reported by their root, once they rest, and not for what is built in them.

use super::*;

#[test]
fn a_saved_source_is_reported_as_its_tree() {
    let mut bench = Bench::new(EVENTS);
    fs::create_dir_all(bench.at("one/src/deep")).expect("folders");
    fs::create_dir_all(bench.at("two/src")).expect("folders");
    let (one, two) = (bench.at("one"), bench.at("two"));
    assert_eq!(bench.watch.trees([one.clone(), two.clone()]), []);
    fs::write(one.join("src/deep/lib.rs"), "new").expect("a file");
    bench.expect_only(&one, &[&two]);
    bench.settle();
    fs::write(two.join("Cargo.toml"), "new").expect("a file");
    bench.expect_only(&two, &[&one]);
    bench.settle();
    fs::remove_file(one.join("src/deep/lib.rs")).expect("it goes");
    bench.expect([&one]);
}

#[test]
fn what_is_built_in_a_tree_is_not_reported() {
    let mut bench = Bench::new(EVENTS);
    fs::create_dir_all(bench.at("tree/src")).expect("folders");
    let (tree, witness) = (bench.at("tree"), bench.at("witness"));
    assert_eq!(bench.watch.trees([tree.clone()]), []);
    assert_eq!(bench.watch.files([witness.clone()]), []);
    for built in ["target/release/deps", "node_modules/left-pad", ".git/objects", "src/__pycache__"] {
        fs::create_dir_all(tree.join(built)).expect("folders");
        fs::write(tree.join(built).join("x.rs"), "built").expect("a file");
    }
    for beside in ["agent.wasm", "src/.lib.rs.swp", "src/4913", "src/lib.rs~"] {
        fs::write(tree.join(beside), "x").expect("a file");
        fs::remove_file(tree.join(beside)).expect("it goes");
    }
    assert!(bench.within(3 * EVENTS.quiet).is_none(), "nothing of it is source");
    fs::write(&witness, "x").expect("a file");
    bench.expect_only(&witness, &[&tree]);
}

#[test]
fn what_is_left_out_of_a_tree_is_not_reported() {
    let mut bench = Bench::new(EVENTS);
    for folder in ["tree/src", "tree/data"] {
        fs::create_dir_all(bench.at(folder)).expect("folders");
    }
    let tree = bench.at("tree");
    let excluded = ["data", "later", "agents.toml"].map(|name| tree.join(name));
    assert_eq!(bench.watch.trees_without([tree.clone()], excluded), []);
    for file in ["data/tasks.db", "agents.toml", "later/tasks.db"] {
        fs::create_dir_all(tree.join(file).parent().expect("a folder")).expect("a folder");
        fs::write(tree.join(file), "x").expect("a file");
    }
    assert!(bench.within(3 * EVENTS.quiet).is_none(), "nothing of it counts");
    fs::write(tree.join("src/lib.rs"), "new").expect("a file");
    bench.expect([&tree]);
}

#[test]
fn a_folder_that_is_new_in_a_tree_is_watched() {
    let mut bench = Bench::new(EVENTS);
    fs::create_dir(bench.at("tree")).expect("a folder");
    let tree = bench.at("tree");
    assert_eq!(bench.watch.trees([tree.clone()]), []);
    fs::create_dir_all(tree.join("a/b/c")).expect("folders");
    bench.expect([&tree]);
    bench.settle();
    fs::write(tree.join("a/b/c/lib.rs"), "new").expect("a file");
    bench.expect([&tree]);
    bench.settle();
    // A whole tree comes in by a rename, as from a checkout.
    fs::create_dir_all(bench.at("other/inner")).expect("folders");
    fs::rename(bench.at("other"), tree.join("other")).expect("it moves");
    bench.expect([&tree]);
    bench.settle();
    fs::write(tree.join("other/inner/lib.rs"), "new").expect("a file");
    bench.expect([&tree]);
}

#[test]
fn a_tree_that_comes_later_or_again_is_watched() {
    let mut bench = Bench::new(EVENTS);
    let tree = bench.at("tree");
    assert_eq!(bench.watch.trees([tree.clone()]), []);
    for _ in 0..2 {
        fs::create_dir_all(tree.join("src")).expect("folders");
        fs::write(tree.join("src/lib.rs"), "new").expect("a file");
        bench.expect([&tree]);
        bench.settle();
        fs::write(tree.join("src/lib.rs"), "newer").expect("a file");
        bench.expect([&tree]);
        bench.settle();
        fs::remove_dir_all(&tree).expect("it goes");
        bench.expect([&tree]);
        bench.settle();
    }
}

#[test]
fn a_source_on_a_file_system_without_events_is_found_by_looking() {
    let mut bench = Bench::new(Timing { poll: Some(Duration::from_millis(50)), ..EVENTS });
    fs::create_dir_all(bench.at("tree")).expect("folders");
    fs::write(bench.at("elsewhere"), "old").expect("a file");
    fs::hard_link(bench.at("elsewhere"), bench.at("tree/lib.rs")).expect("a second name");
    let tree = bench.at("tree");
    assert_eq!(bench.watch.trees([tree.clone()]), []);
    fs::write(bench.at("elsewhere"), "new").expect("a write");
    bench.expect([&tree]);
}
