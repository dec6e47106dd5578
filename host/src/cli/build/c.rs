//! C: bindings generated here from the project's contract, any compiler that makes WebAssembly, and the
//! component put together here.
//!
//! So an author needs a compiler with a C library, and nothing else.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use wasi_preview1_component_adapter_provider as adapter;
use wit_bindgen_core::Files;
use wit_component::ComponentEncoder;

use super::contract::{Contract, is_ours};
use super::{Built, Draft, tools};
use crate::cli::project::LEFTOVERS;

/// Where the bindings go, in a project's folder.
const BINDINGS: &str = "bindings";

/// Builds a project; `None` if the compiler refused.
pub(super) fn build(project: &Path) -> anyhow::Result<Option<Vec<Built>>> {
    let contract = Contract::read(project)?;
    let sources = sources(&project.join("src"))?;
    let compiler = Compiler::find(project)?;
    let draft = Draft::new(project)?;
    let bindings = Path::new(LEFTOVERS).join(BINDINGS);
    let generated = generate(contract, &project.join(&bindings))?;
    let module = draft.beside("module.wasm");
    let mut command = compiler.command(project);
    command
        .args(["-O2", "-Wall", "-mexec-model=reactor", "-Wl,--strip-debug", "-I"])
        .arg(&bindings)
        .args(sources)
        .args(generated.iter().map(|name| bindings.join(name)))
        .arg("-o")
        .arg(&module);
    if !tools::run(command).with_context(|| format!("cannot start {}", compiler.name))? {
        return Ok(None);
    }
    std::fs::write(draft.path(), encode(&module)?)?;
    Ok(Some(vec![draft.publish()?]))
}

/// Every `.c` file below `folder`, as seen from the project's.
fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::from("src")];
    while let Some(below) = left.pop() {
        let at = folder.with_file_name(&below);
        for entry in std::fs::read_dir(&at).with_context(|| format!("cannot read {}", at.display()))? {
            let path = below.join(entry?.file_name());
            if folder.with_file_name(&path).is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "c") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Writes the bindings into `folder`; the names of those that are compiled or linked.
fn generate(contract: Contract, folder: &Path) -> anyhow::Result<Vec<String>> {
    // Our own interfaces go by their bare names: `exports_agent_handle`, `system_get_memory`.
    let all = contract.exports().chain(contract.imports());
    let rename = all
        .filter(|(package, _)| is_ours(package))
        .map(|(package, interface)| (package.interface_id(interface), interface.to_owned()))
        .collect();
    let options = wit_bindgen_c::Opts { rename, ..Default::default() };
    let Contract { mut resolve, world } = contract;
    let mut files = Files::default();
    options
        .build()
        .generate(&mut resolve, world, &mut files)
        .context("cannot make bindings of the contract")?;
    std::fs::create_dir_all(folder)?;
    let mut linked = Vec::new();
    for (name, content) in files.iter() {
        std::fs::write(folder.join(name), content)?;
        if !name.ends_with(".h") {
            linked.push(name.to_owned());
        }
    }
    Ok(linked)
}

/// Makes a component of a module that was linked against the bindings.
fn encode(module: &Path) -> anyhow::Result<Vec<u8>> {
    let component = || {
        ComponentEncoder::default()
            .validate(true)
            .module(&std::fs::read(module)?)?
            .adapter(
                adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )?
            .encode()
    };
    component().context("what was compiled does not make a component")
}

/// A compiler, and the arguments that make it compile to WebAssembly.
struct Compiler {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
}

/// What a stack may hold, as in Rust's programs: C's own default of 64 KiB is soon used up.
const STACK: &str = "-Wl,-z,stack-size=1048576";

impl Compiler {
    fn new(program: &Path, arguments: &[&str]) -> Self {
        let name = format!("`{} {}`", program.display(), arguments.join(" "));
        let arguments = arguments.iter().chain(&[STACK]).map(OsString::from).collect();
        Self { name, program: program.to_owned(), arguments }
    }

    fn clang(program: &Path, target: &str) -> Self {
        // With the stack first, one that overflows traps; elsewhere it would run into the data.
        Self::new(program, &[&format!("--target={target}"), "-Wl,--stack-first"])
    }

    /// `before` is what makes the program zig.
    fn zig(program: &Path, before: &[&str]) -> Self {
        Self::new(program, &[before, &["cc", "-target", "wasm32-wasi"]].concat())
    }

    /// A compiler that works here: the wasi-sdk that was named, clang, then zig.
    fn find(project: &Path) -> anyhow::Result<Self> {
        if let Some(sdk) = std::env::var_os("WASI_SDK_PATH").filter(|path| !path.is_empty()) {
            let clang = Path::new(&sdk).join("bin/clang");
            if !clang.is_file() {
                bail!(
                    "WASI_SDK_PATH is {}, which has no bin/clang; set it to an unpacked wasi-sdk",
                    sdk.display()
                );
            }
            return Ok(Self::clang(&clang, "wasm32-wasip1"));
        }
        for target in ["wasm32-wasi", "wasm32-wasip1"] {
            let clang = Self::clang(Path::new("clang"), target);
            if clang.links()? {
                return Ok(clang);
            }
        }
        let own = tools::virtual_environments(project).into_iter().map(|folder| folder.join("bin/python"));
        if let Some(python) = own.into_iter().find(|python| has_zig(python)) {
            return Ok(Self::zig(&python, &["-m", "ziglang"]));
        }
        if let Some(zig) = tools::on_path("zig") {
            return Ok(Self::zig(&zig, &[]));
        }
        if has_zig(Path::new("python3")) {
            return Ok(Self::zig(Path::new("python3"), &["-m", "ziglang"]));
        }
        bail!(
            "no C compiler here makes WebAssembly (tried WASI_SDK_PATH, a clang that links for wasm32-wasi, and zig); \
             install one of\n  apt-get install clang lld wasi-libc libclang-rt-dev-wasm32\n  \
             {}python3 -m venv .venv && .venv/bin/pip install ziglang\n  \
             a wasi-sdk (https://github.com/WebAssembly/wasi-sdk), with WASI_SDK_PATH set to its folder",
            tools::in_folder(project)
        )
    }

    /// Whether it can link a program with its C library: a clang without either is common.
    fn links(&self) -> anyhow::Result<bool> {
        let folder = tempfile::tempdir()?;
        let source = folder.path().join("probe.c");
        std::fs::write(&source, "#include <stdlib.h>\nint probe(void) { abort(); }\n")?;
        let mut command = self.command(folder.path());
        command.args(["-mexec-model=reactor", "probe.c", "-o", "probe.wasm"]);
        Ok(tools::works(command))
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(folder);
        command
    }
}

/// Whether a Python has the package `ziglang`.
fn has_zig(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-m", "ziglang", "version"]);
    tools::works(command)
}
