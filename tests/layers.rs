//! How the project is put together: imports run one way, every file says what it is for, and every
//! interface that a component could import has been decided about.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use stockade::capabilities::interfaces::{Cost, Decision, INTERFACES, decision, interface};
use stockade::capabilities::{self, CallState};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::support::root;

/// Each room of the host, and those that it may import. In reading order: a room stands above the
/// ones before it, but `auth`, `telemetry` and `shutdown` stand on little.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("storage", &["domain"]),
    ("config", &["domain", "storage"]),
    ("telemetry", &["domain", "config"]),
    ("bindings", &["domain"]),
    ("capabilities", &["domain", "config", "telemetry", "bindings"]),
    ("engine", &["domain", "storage", "config", "telemetry", "bindings", "capabilities"]),
    ("registry", &["domain", "storage", "config", "telemetry", "bindings", "capabilities", "engine"]),
    ("scheduler", &["domain", "config", "telemetry", "bindings", "capabilities", "engine", "registry"]),
    ("auth", &["domain", "storage", "config"]),
    ("shutdown", &["domain"]),
    ("operations", &["domain", "storage", "config", "telemetry", "registry", "scheduler", "shutdown"]),
    // A door knows what may be asked, and neither the registry nor the scheduler behind it.
    ("api", &["domain", "config", "telemetry", "operations", "auth", "shutdown"]),
    (
        "app",
        &[
            "domain",
            "storage",
            "config",
            "telemetry",
            "bindings",
            "capabilities",
            "engine",
            "registry",
            "scheduler",
            "auth",
            "shutdown",
            "operations",
            "api",
        ],
    ),
    (
        "cli",
        &[
            "domain",
            "storage",
            "config",
            "telemetry",
            "capabilities",
            "engine",
            "registry",
            "auth",
            "operations",
            "api",
            "app",
            "shutdown",
        ],
    ),
];

/// Every Rust file below `folder`, but for what was built.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() {
                if name != "target" && name != "node_modules" && name != "data" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The code of a file, without its comment lines.
fn code(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The name that `text` begins with.
fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// The first name of each path in what follows `use a::`, which may be a list over several lines.
fn named(rest: &str) -> Vec<String> {
    let Some(list) = rest.strip_prefix('{') else { return vec![first_name(rest)] };
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(first_name(&list[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The rooms that the code of the file `relative` names: after `crate::`, and after as many `super::` as lead
/// out of its own room.
fn imports(relative: &Path, text: &str) -> BTreeSet<String> {
    let code = code(text);
    let mut rooms: BTreeSet<String> = code.split("crate::").skip(1).flat_map(named).collect();
    // A room's own `mod.rs` or `room.rs` is one step below the root, and so on.
    let file = relative.file_name().is_some_and(|name| name == "mod.rs");
    let steps = "super::".repeat(relative.iter().count() - usize::from(file));
    let mut rest = code.as_str();
    while let Some(at) = rest.find(&steps) {
        rest = &rest[at + steps.len()..];
        // In a module within the file one more step stays inside: what is no room there is no import.
        rooms.extend(named(rest.trim_start_matches("super::")).into_iter().filter(|name| is_room(name)));
    }
    rooms.extend(code.split("stockade::").skip(1).flat_map(named).filter(|name| is_room(name)));
    rooms
}

fn is_room(name: &str) -> bool {
    ROOMS.iter().any(|(room, _)| *room == name)
}

#[test]
fn every_way_to_write_an_import_is_seen() {
    let of = |file: &str, text: &str| imports(Path::new(file), text).into_iter().collect::<Vec<_>>();
    assert_eq!(of("api/tasks.rs", "use crate::registry::Registry;"), ["registry"]);
    assert_eq!(of("api/tasks.rs", "let registry = crate::registry::new();"), ["registry"]);
    assert_eq!(of("api/tasks.rs", "use crate::{domain::{Role, Task}, registry};"), ["domain", "registry"]);
    let lines = "use crate::{\n    domain::{\n        Role,\n    },\n    registry,\n};";
    assert_eq!(of("api/tasks.rs", lines), ["domain", "registry"]);
    assert_eq!(of("api/tasks.rs", "use super::super::registry::Registry;"), ["registry"]);
    assert_eq!(of("api/tasks.rs", "use super::super::{answer, registry};"), ["registry"]);
    assert_eq!(of("api/mod.rs", "use super::registry::Registry;"), ["registry"]);
    assert_eq!(of("app/live/mod.rs", "use super::super::registry::Registry;"), ["registry"]);
    assert_eq!(of("api/tasks.rs", "mod tests { use super::super::super::registry; }"), ["registry"]);
    assert_eq!(of("api/tasks.rs", "use super::answer;\nuse super::{body, registry};"), [""; 0]);
    assert_eq!(of("api/tasks.rs", "// use crate::registry;"), [""; 0]);
}

#[test]
fn imports_run_one_way() {
    let source = root().join("host/src");
    let mut seen = BTreeSet::new();
    for file in sources(&source) {
        let relative = file.strip_prefix(&source).expect("below the source");
        let room = relative.iter().next().expect("a room").to_string_lossy().replace(".rs", "");
        if room == "lib" || room == "main" {
            continue;
        }
        let (_, allowed) = ROOMS
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("{room} is a new room: say in this test what it may import"));
        seen.insert(room.clone());
        for import in imports(relative, &fs::read_to_string(&file).expect("a file")) {
            let allowed = import == room || allowed.contains(&import.as_str());
            assert!(allowed, "{} imports {import}", file.display());
        }
    }
    assert_eq!(seen.len(), ROOMS.len(), "{seen:?}");
}

#[test]
fn what_is_asked_of_the_registry_goes_through_operations_and_no_door_decides_a_right() {
    let source = root().join("host/src");
    let of_callers = [".approve(", ".rollback(", ".register(", ".generate(", ".remove("];
    for file in sources(&source) {
        let relative = file.strip_prefix(&source).expect("below the source");
        let room = relative.iter().next().expect("a room").to_string_lossy().replace(".rs", "");
        let text = code(&fs::read_to_string(&file).expect("a file"));
        // A chain of calls may stand on several lines.
        let text: String = text.split_whitespace().collect();
        for call in of_callers {
            let changes = ["registry()", "registry"].iter().any(|of| text.contains(&format!("{of}{call}")));
            assert!(!changes || room == "operations", "{} changes agents: {call}", file.display());
        }
        // With the import: what is brought in by name is called without it.
        let may = ["domain", "operations", "scheduler", "registry"].contains(&room.as_str());
        assert!(may || !text.contains("rights::"), "{} decides a right", file.display());
    }
}

#[test]
fn storage_knows_digests_and_no_word_of_what_is_stored() {
    for file in sources(&root().join("host/src/storage")) {
        let code = code(&fs::read_to_string(&file).expect("a file"));
        let of_domain: Vec<String> = code.split("crate::domain::").skip(1).flat_map(named).collect();
        assert!(of_domain.iter().all(|name| name == "Digest"), "{} knows {of_domain:?}", file.display());
        for word in ["Agent", "Tenant", "Principal", "Task", "Audit", "agent_id", "tenant"] {
            assert!(!code.contains(word), "{} knows {word}", file.display());
        }
    }
}

#[test]
fn no_room_passes_on_what_another_must_not_import() {
    // `app` gives the binary its compiler.
    let source = root().join("host/src");
    for file in sources(&source).into_iter().filter(|file| !file.ends_with("app.rs")) {
        let code = code(&fs::read_to_string(&file).expect("a file"));
        assert!(!code.contains("pub use crate::"), "{} exports another room's types", file.display());
    }
}

#[test]
fn the_router_knows_nothing_of_ours_and_reaches_nothing() {
    let manifest = fs::read_to_string(root().join("host/router/Cargo.toml")).expect("its manifest");
    let dependencies = manifest.split("[dependencies]").nth(1).expect("its dependencies");
    let dependencies = dependencies.split("\n[").next().unwrap_or(dependencies);
    for foreign in ["stockade", "tokio", "wasmtime", "axum", "reqwest", "ureq"] {
        assert!(
            !dependencies.lines().any(|line| line.starts_with(foreign)),
            "the router depends on {foreign}"
        );
    }
    for file in sources(&root().join("host/router/src")) {
        let text = fs::read_to_string(&file).expect("a file");
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        for reach in
            ["std::fs", "std::net", "std::process", "std::env", "SystemTime::now", "Instant::now", "async fn"]
        {
            assert!(!code.contains(reach), "{} has {reach}", file.display());
        }
    }
}

#[test]
fn only_the_rooms_that_may_know_wasmtime_and_axum() {
    let source = root().join("host/src");
    for (word, rooms) in [
        ("wasmtime", &["bindings", "capabilities", "engine"][..]),
        ("axum", &["api"]),
        ("clap", &["cli", "main"]),
    ] {
        for file in sources(&source) {
            let relative = file.strip_prefix(&source).expect("below the source");
            let room = relative.iter().next().expect("a room").to_string_lossy().replace(".rs", "");
            let text = fs::read_to_string(&file).expect("a file");
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let knows = code.into_iter().any(|line| line.contains(&format!("{word}::")));
            assert!(!knows || rooms.contains(&room.as_str()), "{} knows {word}", file.display());
        }
    }
}

#[test]
fn a_rooms_sql_is_in_its_own_store() {
    let source = root().join("host/src");
    let mut stores = 0;
    for file in sources(&source) {
        let relative = file.strip_prefix(&source).expect("below the source");
        let name = relative.file_name().expect("a name").to_string_lossy();
        let own = relative.starts_with("storage") || name == "store.rs" || name == "schema.rs";
        let text = fs::read_to_string(&file).expect("a file");
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        let mut code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let knows = code.any(|line| line.contains("rusqlite::"));
        assert!(!knows || own, "{} knows SQLite", file.display());
        stores += usize::from(knows);
    }
    assert!(stores > 2, "only {stores} files know SQLite");
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    let root = root();
    let all = sources(&root);
    assert!(all.len() > 100, "only {} files were found", all.len());
    for file in all {
        let text = fs::read_to_string(&file).expect("a file");
        assert!(text.starts_with("//! "), "{} does not open with `//!`", file.display());
    }
}

/// What `wasmtime-wasi` needs to be linked.
struct Nobody {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Nobody {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

/// An interface as its WIT file has it: its name, its package's version, one thing in it.
struct Interface {
    name: String,
    version: String,
    resource: Option<String>,
    function: Option<String>,
}

/// Reads the interfaces of a WIT file. What is nested in a resource belongs to that.
fn interfaces(text: &str) -> Vec<Interface> {
    let Some(package) = text.lines().find_map(|line| line.trim().strip_prefix("package ")) else {
        return Vec::new();
    };
    let Some((package, version)) = package.trim_end_matches(';').split_once('@') else {
        return Vec::new();
    };
    let mut found: Vec<Interface> = Vec::new();
    let mut depth = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.starts_with('@')) {
        if let Some(name) = line.strip_prefix("interface ").filter(|_| depth == 0) {
            let name = name.trim_end_matches(['{', ' ']);
            found.push(Interface {
                name: format!("{package}/{name}"),
                version: version.to_owned(),
                resource: None,
                function: None,
            });
        } else if depth == 1
            && let Some(interface) = found.last_mut()
        {
            if let Some(name) = line.strip_prefix("resource ") {
                interface.resource.get_or_insert(name.trim_end_matches(['{', ';', ' ']).to_owned());
            } else if let Some((name, rest)) = line.split_once(':')
                && rest.trim_start().starts_with("func")
            {
                interface.function.get_or_insert(name.trim_start_matches('%').to_owned());
            }
        }
        depth += line.matches('{').count();
        depth = depth.saturating_sub(line.matches('}').count());
    }
    found
}

/// Whether the library links this interface: an import of one thing in it is found, if perhaps not
/// with the type that was asked for.
fn is_linked<T>(linker: &Linker<T>, interface: &Interface) -> bool {
    let thing = match (&interface.resource, &interface.function) {
        (Some(resource), _) => format!("(export \"{resource}\" (type (sub resource)))"),
        (None, Some(function)) => format!("(export \"{function}\" (func))"),
        (None, None) => return false,
    };
    let name = format!("{}@{}", interface.name, interface.version);
    let text = format!("(component (import \"{name}\" (instance {thing})))");
    let component = Component::new(linker.engine(), text_to_bytes(&text)).expect("a component");
    match linker.instantiate_pre(&component) {
        Ok(_) => true,
        Err(error) => !format!("{error:#}").contains("implementation is missing"),
    }
}

fn text_to_bytes(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[test]
fn every_interface_that_is_linked_has_been_decided_about() {
    let engine = wasmtime::Engine::default();
    let mut library = Linker::<Nobody>::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut library).expect("the library links itself");
    let mut linker = Linker::<CallState>::new(&engine);
    capabilities::add_to_linker(&mut linker).expect("capabilities link themselves");
    let mut linked = BTreeSet::new();
    for interface in library_files().iter().flat_map(|text| interfaces(text)) {
        if is_linked(&library, &interface) {
            let decision = decision(&interface.name);
            let inert = matches!(decision, Some(Decision::Ambient));
            assert!(inert, "{} is linked, and the decision about it is {decision:?}", interface.name);
            linked.insert(interface.name);
        }
    }
    for package in ["cli", "clocks", "filesystem", "io", "random", "sockets"] {
        assert!(
            linked.iter().any(|name| name.starts_with(&format!("wasi:{package}/"))),
            "{package}: {linked:?}"
        );
    }
    // Ours: the WIT files that agents' authors have.
    for interface in own_files().iter().flat_map(|text| interfaces(text)) {
        let decision = decision(&interface.name);
        match decision {
            Some(Decision::Contract) => continue,
            Some(Decision::Own | Decision::Gated(_)) => {}
            Some(Decision::Ambient) | None => {
                panic!(
                    "`{}` has no row of its own in capabilities/interfaces.rs: {decision:?}",
                    interface.name
                )
            }
        }
        assert!(
            is_linked(&linker, &interface),
            "`add_to_linker` in capabilities/mod.rs leaves {} out",
            interface.name
        );
        linked.insert(interface.name);
    }
    for row in INTERFACES {
        if row.decision != Decision::Contract {
            assert!(linked.contains(row.name), "{} has a row, and nothing links it", row.name);
        }
        assert_eq!(decision(&format!("{}@9.9.9", row.name)), Some(row.decision));
    }
}

/// The functions of a WIT file that are given something of any length, with their interfaces.
fn of_any_length(text: &str) -> Vec<(String, String)> {
    let package = text.lines().find_map(|line| line.trim().strip_prefix("package ")).unwrap_or_default();
    let package = package.split('@').next().unwrap_or_default().to_owned();
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for part in code.split("interface ").skip(1) {
        let interface = format!("{package}/{}", part.split(['{', ' ']).next().unwrap_or_default());
        let mut rest = part;
        while let Some(at) = rest.find("func(") {
            let name = rest[..at].trim_end().trim_end_matches("static").trim_end().trim_end_matches(':');
            let name = name.trim_end().rsplit([' ', '{', ';']).next().unwrap_or_default();
            let given = &rest[at..];
            // Up to the result: a parameter's own types have angle brackets only.
            let given = &given[..given.find(')').expect("the parameters end")];
            let long = ["string", "list<", "len: u64", "len: filesize", "length: filesize"];
            if long.iter().any(|word| given.contains(word)) {
                found.push((interface.clone(), name.trim_start_matches('%').to_owned()));
            }
            rest = &rest[at + "func(".len()..];
        }
    }
    found
}

#[test]
fn every_function_that_is_given_a_length_is_charged_by_it_or_out_of_reach() {
    let functions: Vec<_> =
        library_files().iter().chain(&own_files()).flat_map(|text| of_any_length(text)).collect();
    let mut charged = 0;
    for (name, function) in &functions {
        // What is not linked costs nothing; the contract's functions are the agent's own.
        if let Some(row) = interface(name).filter(|row| row.decision != Decision::Contract) {
            let cost = row.cost(function);
            assert!(
                cost.is_some(),
                "`{name}` in capabilities/interfaces.rs does not say what `{function}` costs"
            );
            charged += usize::from(cost == Some(Cost::Charged));
        }
    }
    for known in ["poll", "write", "get-random-bytes", "resolve-addresses", "open-at", "log"] {
        assert!(functions.iter().any(|(_, name)| name == known), "{known} is not found: {functions:?}");
    }
    assert!(charged >= 10, "{functions:?}");
}

/// The WIT files of this host.
fn own_files() -> Vec<String> {
    let folders = fs::read_dir(root().join("wit")).expect("the WIT files").flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).expect("a folder").flatten());
    files.map(|file| fs::read_to_string(file.path()).expect("a WIT file")).collect()
}

/// The WIT files of the version of `wasmtime-wasi` that this workspace is locked to.
fn library_files() -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("cargo's metadata");
    let packages = metadata["packages"].as_array().expect("packages");
    let library = packages.iter().find(|package| package["name"] == "wasmtime-wasi").expect("wasmtime-wasi");
    let manifest = Path::new(library["manifest_path"].as_str().expect("a path"));
    let mut files = Vec::new();
    let mut folders = vec![manifest.with_file_name("src").join("p2/wit")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("its WIT files").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "wit") {
                files.push(entry.path());
            }
        }
    }
    // Only one file of a package names it.
    let mut texts = Vec::new();
    for file in &files {
        let mut text = fs::read_to_string(file).expect("a WIT file");
        let named = |text: &str| text.lines().any(|line| line.trim().starts_with("package "));
        if !named(&text) {
            let siblings = files.iter().filter(|other| other.parent() == file.parent());
            let package = siblings.filter_map(|other| fs::read_to_string(other).ok()).find_map(|other| {
                other.lines().find(|line| line.trim().starts_with("package ")).map(str::to_owned)
            });
            text = format!("{}\n{text}", package.unwrap_or_default());
        }
        texts.push(text);
    }
    texts
}
