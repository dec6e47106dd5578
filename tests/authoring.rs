//! An author's day: a project made by `stockade new`, in each language, builds as it is, answers, and
//! tells its author what went wrong.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{Ran, program, run, stockade};
use crate::support::root;

/// Every language, and the file that its projects begin with.
const LANGUAGES: [(&str, &str); 4] = [
    ("rust", "src/lib.rs"),
    ("python", "src/agent.py"),
    ("javascript", "src/agent.js"),
    ("c", "src/agent.c"),
];

/// A project that `stockade new` made.
struct Project {
    /// Goes when this does.
    _folder: TempDir,
    path: PathBuf,
    made: Value,
}

impl Project {
    fn new(id: &str, language: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(id);
        let at = path.to_str().expect("a path");
        let made = stockade(["new", id, "--lang", language, "--path", at, "--json"]).expect_json(0);
        Self { _folder: folder, path, made }
    }

    fn file(&self, path: &str) -> String {
        let path = self.path.join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Replaces a part of a file, which must be there.
    fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.file(path);
        assert!(text.contains(from), "{from:?} is not in {text}");
        fs::write(self.path.join(path), text.replace(from, to)).expect("a file");
    }

    /// Runs the program in the project's folder.
    fn stockade(&self, arguments: &[&str]) -> Ran {
        self.stockade_with(arguments, &[])
    }

    fn stockade_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = program();
        command.args(arguments).envs(environment.iter().copied()).current_dir(&self.path);
        run(command)
    }

    /// Builds it; `None` where this machine lacks what that takes.
    fn build(&self) -> Option<String> {
        if self.path.join("package.json").is_file() {
            // Installed once, for the example, and not for each test.
            let modules = root().join("examples/agents/javascript/node_modules");
            if !has("componentize-js (`npm install` in examples/agents/javascript)", modules.is_dir()) {
                return None;
            }
            std::os::unix::fs::symlink(modules, self.path.join("node_modules")).expect("a link");
        }
        let ran = self.stockade(&["build"]);
        for (words, what) in [
            ("componentize-py, which makes components of Python, is not installed", "componentize-py"),
            ("no C compiler here makes WebAssembly", "a C compiler for WebAssembly"),
            ("Node.js 20 or newer, which", "Node.js"),
        ] {
            if !has(what, !ran.err.contains(words)) {
                return None;
            }
        }
        Some(ran.expect(0))
    }
}

/// Whether something that a language needs is on this machine. Where it is not, the test is left out;
/// not where everything has to be tried.
fn has(what: &str, there: bool) -> bool {
    let everything = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(there || !everything, "{what} is missing here: install it");
    if !there {
        eprintln!("left out: {what} is not on this machine");
    }
    there
}

#[test]
fn a_new_project_is_complete() {
    for (language, entry) in LANGUAGES {
        let project = Project::new("unit-greeter", language);
        let made = &project.made;
        assert_eq!((&made["id"], &made["language"]), (&json!("unit-greeter"), &json!(language)));
        for path in made["files"].as_array().expect("a list") {
            assert!(!project.file(path.as_str().expect("a path")).is_empty(), "{path}");
        }
        assert!(project.file(entry).contains("Unit Greeter"), "{language}");
        let readme = project.file("README.md");
        assert!(readme.starts_with("# Unit Greeter\n"), "{readme}");
        for command in made["next"].as_array().expect("a list").iter().skip(1) {
            let first = command.as_str().expect("a command").split(" && ").next().expect("a command");
            assert!(readme.contains(first), "{first:?} is not in {readme}");
        }
        let component = Path::new(made["component"].as_str().expect("a path"));
        let relative = component.strip_prefix(&project.path).expect("in the project").display().to_string();
        assert!(project.file("agents.toml").contains(&format!("component = \"{relative}\"")));
        assert!(readme.contains(&relative), "{readme}");
    }
}

#[test]
fn the_whole_contract_goes_into_a_project() {
    for (language, contract) in [("rust", "stockade-sdk/wit"), ("python", "wit/deps"), ("c", "wit/deps")] {
        let project = Project::new("greeter", language);
        let mut packages = 0;
        for package in fs::read_dir(root().join("wit")).expect("the contracts").flatten() {
            for file in fs::read_dir(package.path()).expect("a package").flatten() {
                let relative = Path::new(contract).join(package.file_name()).join(file.file_name());
                let text = fs::read_to_string(file.path()).expect("a WIT file");
                assert_eq!(project.file(relative.to_str().expect("a path")), text);
                packages += 1;
            }
        }
        assert!(packages >= 4);
    }
    let project = Project::new("greeter", "rust");
    for file in fs::read_dir(root().join("plugins/sdk/src")).expect("the SDK").flatten() {
        let text = fs::read_to_string(file.path()).expect("a source");
        assert_eq!(project.file(&format!("stockade-sdk/src/{}", file.file_name().display())), text);
    }
}

#[test]
fn what_cannot_be_made_is_said_and_nothing_is_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    for (name, word) in
        [("Greeter", "a-z"), ("a b", "a-z"), ("", "a-z"), ("../x", "a-z"), ("status", "HTTP interface")]
    {
        let ran = stockade(["new", name, "--lang", "c", "--path", &at("bad")]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{name}: {}", ran.err);
        assert!(ran.err.contains(word), "{name}: {}", ran.err);
    }
    let ran = stockade(["new", "greeter", "--lang", "cobol", "--path", &at("bad")]);
    assert!(ran.err.contains("cobol") && ran.err.contains("rust, python, javascript, c"), "{}", ran.err);
    assert_eq!(ran.code, 2);
    assert_eq!(stockade(["new", "greeter", "--path", &at("bad")]).code, 2, "a language must be chosen");
    assert!(!Path::new(&at("bad")).exists());

    fs::create_dir(at("there")).expect("a folder");
    fs::write(at("there/README.md"), "mine").expect("a file");
    for taken in [at("there"), at("there/README.md")] {
        let ran = stockade(["new", "greeter", "--lang", "c", "--path", &taken]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(
            ran.err.contains(&format!("{taken} exists already")) && ran.err.contains("--path"),
            "{}",
            ran.err
        );
    }
    assert_eq!(fs::read_dir(at("there")).expect("a folder").count(), 1);
    assert_eq!(fs::read_to_string(at("there/README.md")).expect("a file"), "mine");
    let problems = stockade(["new", "Greeter", "--lang", "c", "--json"]).expect_json(2);
    assert!(problems[0]["message"].as_str().is_some_and(|text| text.contains("Greeter")), "{problems}");
}

/// From a new project to its answers. `line` of the file that it begins with is followed by `fault`, which
/// ends the call in which Grace is greeted; `told` is what its author must get to see, with the number of
/// its line for `LINE`.
fn an_authors_day(language: &str, line: &str, fault: &str, told: &str) {
    let project = Project::new("greeter", language);
    let (_, entry) = LANGUAGES.into_iter().find(|(name, _)| *name == language).expect("a language");
    project.edit(entry, line, &format!("{line}{fault}"));
    let at = project.file(entry).lines().position(|line| line.contains("told to")).expect("the fault") + 1;
    let told = told.replace("LINE", &at.to_string());

    let component = project.made["component"].as_str().expect("a path");
    let Some(out) = project.build() else { return };
    assert!(out.contains(component) && out.contains("KiB"), "{out}");
    let asked = project.stockade(&["call", "--verbose", "greeter", "say hello to Ada Lovelace"]);
    assert!(asked.err.contains("greeting Ada Lovelace"), "its log: {}", asked.err);
    assert_eq!(asked.expect(0).trim(), "Hello, Ada Lovelace!");
    let refused = project.stockade(&["call", "greeter", "--json", "Greet"]).expect_json(1);
    assert_eq!(refused["code"], "invalid_input", "{refused}");
    let agents = project.stockade(&["agents", "--local", "--json"]).expect_json(0);
    assert_eq!((&agents[0]["name"], &agents[0]["status"]), (&json!("Greeter"), &json!("active")), "{agents}");
    let fell = project.stockade(&["call", "--verbose", "greeter", "Greet Grace"]);
    assert!(fell.err.contains("agent_trapped") && fell.err.contains("told to"), "{}", fell.err);
    assert!(fell.err.contains(&told), "{told:?} is not in {}", fell.err);

    // A build that fails says why, with the place, and leaves the component as it was.
    let before = fs::read(component).expect("a component");
    project.edit(entry, line, "this is no program (");
    let broken = project.stockade(&["build"]);
    assert!(broken.err.contains(entry.rsplit('/').next().unwrap_or(entry)), "{}", broken.err);
    assert!(broken.err.contains("did not build"), "{}", broken.err);
    assert_eq!((broken.code, broken.out.as_str()), (1, ""));
    assert!(fs::read(component).expect("the component of before") == before);
    if language != "rust" {
        let left = fs::read_dir(project.path.join("target")).expect("what builds leave").flatten();
        let drafts = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("draft-"));
        assert_eq!(drafts.count(), 0, "a draft was left behind");
    }
}

#[test]
fn an_agent_in_rust() {
    let fault = " assert_ne!(name, \"Grace\", \"told to\");";
    an_authors_day("rust", "log::info!(\"greeting {name}\");", fault, "src/lib.rs:LINE:");
}

#[test]
fn an_agent_in_c() {
    let fault = "\n#include <assert.h>\n        assert(strstr(text, \"Grace\") == NULL && \"told to\");";
    an_authors_day("c", "info(text);", fault, "(src/agent.c: exports_agent_handle: LINE)");
}

#[test]
fn an_agent_in_python() {
    let fault = "\n        if name == \"Grace\":\n            raise ValueError(\"told to\")";
    an_authors_day("python", "name = whom[1]", fault, "agent.py\", line LINE, in handle");
}

#[test]
fn an_agent_in_javascript() {
    let fault = "\n    if (name === \"Grace\") throw new TypeError(\"told to\");";
    an_authors_day("javascript", "const name = whom[1];", fault, "src/agent.js:LINE:");
}

#[test]
fn a_slip_in_the_contract_is_told_with_its_place() {
    let project = Project::new("greeter", "c");
    project.edit("wit/world.wit", "import wasi:logging", "import wasi:lodging");
    let ran = project.stockade(&["build"]);
    assert!(ran.err.contains("world.wit:") && ran.err.contains("lodging"), "{}", ran.err);
    assert_eq!(ran.code, 1);
    project.edit("wit/world.wit", "include stockade:agent/plugin@0.1.0;", "");
    project.edit("wit/world.wit", "wasi:lodging", "wasi:logging");
    let ran = project.stockade(&["build"]);
    assert!(ran.err.contains("include stockade:agent/plugin@0.1.0;"), "{}", ran.err);
    assert!(!project.path.join("agent.wasm").exists());
}

#[test]
fn what_is_missing_on_the_machine_is_said_with_what_installs_it() {
    let nothing = tempfile::tempdir().expect("a folder");
    let path = nothing.path().to_str().expect("a path");
    for (language, command) in [
        ("python", ".venv/bin/pip install -r requirements.txt"),
        ("javascript", "apt-get install nodejs npm"),
        ("c", "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32"),
        ("rust", "https://rustup.rs"),
    ] {
        let project = Project::new("greeter", language);
        let ran =
            project.stockade_with(&["build"], &[("PATH", path), ("WASI_SDK_PATH", ""), ("VIRTUAL_ENV", "")]);
        assert!(ran.err.contains(command), "{language}: {}", ran.err);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{language}");
        assert!(!project.path.join("agent.wasm").exists());
    }
    let project = Project::new("greeter", "c");
    let ran = project.stockade_with(&["build"], &[("WASI_SDK_PATH", path)]);
    assert!(ran.err.contains("WASI_SDK_PATH") && ran.err.contains("bin/clang"), "{}", ran.err);
}
