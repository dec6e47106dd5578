//! What a guest can import, from the WIT files: every function, and how core WebAssembly calls it.
//!
//! Owns the resolved packages. Knows nothing of costs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use stockade::capabilities::interfaces::{self, Decision};
use wit_bindgen_core::wit_parser::abi::{AbiVariant, FlatTypes, WasmType};
use wit_bindgen_core::wit_parser::{
    Function, Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId, TypeOwner, WorldId,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// One function that a guest can import.
pub(crate) struct Import {
    /// The interface with its version.
    pub(crate) module: String,
    /// The function as core WebAssembly names it.
    pub(crate) field: String,
    /// What a case calls it: the interface without its version, a space, the function.
    pub(crate) name: String,
    /// Its type in WebAssembly text.
    pub(crate) signature: String,
    /// Resources that it wants a handle of.
    pub(crate) wants: Vec<String>,
    /// What it is called with where nothing is said: handles, and zeroes for the rest.
    pub(crate) arguments: String,
    /// What drops the handle that it gives, if it gives one.
    pub(crate) drops: String,
    /// Whether it gives something on the stack that [`Import::drops`] does not take.
    pub(crate) leaves_a_value: bool,
    /// Whether its cost may depend on its arguments: a list, a string, a count.
    pub(crate) has_a_size: bool,
}

/// Where results go that do not fit a register.
pub(crate) const RESULT: u32 = 16;

/// Every interface that the host decided about.
pub(crate) struct Contracts {
    resolve: Resolve,
    interfaces: Vec<InterfaceId>,
    world: WorldId,
}

impl Contracts {
    /// Reads the WIT files of the host and of the library that it links.
    pub(crate) fn read() -> Self {
        let mut resolve = Resolve::default();
        let root = root();
        let own = ["agent", "system", "logging", "config"].map(|name| root.join("wit").join(name));
        for folder in std::iter::once(library()).chain(own) {
            resolve.push_dir(&folder).unwrap_or_else(|error| panic!("{}: {error:#}", folder.display()));
        }
        let interfaces: Vec<InterfaceId> = resolve
            .interfaces
            .iter()
            .filter(|(_, interface)| interface.name.is_some() && interface.package.is_some())
            .map(|(id, _)| id)
            .filter(|id| {
                let name = resolve.id_of(*id).unwrap_or_default();
                interfaces::decision(&name).is_some_and(|decision| decision != Decision::Contract)
            })
            .collect();
        let imports =
            interfaces.iter().map(|id| format!("import {};\n", resolve.id_of(*id).expect("its name")));
        let world = format!(
            "package stockade:probe;\nworld probe {{\n{}export stockade:agent/agent@0.1.0;\n}}\n",
            imports.collect::<String>()
        );
        let package = resolve.push_str("probe.wit", &world).expect("a world of everything");
        let world = resolve.packages[package].worlds["probe"];
        Self { resolve, interfaces, world }
    }

    /// The interfaces' names, without versions.
    pub(crate) fn interfaces(&self) -> BTreeSet<String> {
        self.interfaces.iter().map(|id| self.name(*id)).collect()
    }

    /// Every function of every interface.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let functions = self.interfaces.iter().flat_map(|id| {
            self.resolve.interfaces[*id].functions.values().map(move |function| self.import(*id, function))
        });
        functions.collect()
    }

    /// How a handle of this resource is dropped: module and field.
    fn drop_of(&self, resource: TypeId) -> String {
        let TypeOwner::Interface(owner) = self.resolve.types[resource].owner else {
            panic!("a resource outside an interface");
        };
        let name = self.resolve.types[resource].name.as_deref().unwrap_or_default();
        format!("$\"{} [resource-drop]{name}\"", self.name(owner))
    }

    /// The imports that drop resources: identifier, module, field.
    pub(crate) fn drops(&self) -> Vec<(String, String, String)> {
        let resources = self.resolve.types.iter().filter(|(_, one)| one.kind == TypeDefKind::Resource);
        let decided = resources.filter_map(|(id, one)| match one.owner {
            TypeOwner::Interface(owner) if self.interfaces.contains(&owner) => Some((id, owner, one)),
            _ => None,
        });
        decided
            .map(|(id, owner, one)| {
                let field = format!("[resource-drop]{}", one.name.as_deref().unwrap_or_default());
                (self.drop_of(id), self.resolve.id_of(owner).expect("its name"), field)
            })
            .collect()
    }

    fn name(&self, interface: InterfaceId) -> String {
        let name = self.resolve.id_of(interface).expect("an interface with a name");
        name.split('@').next().unwrap_or_default().to_owned()
    }

    fn import(&self, interface: InterfaceId, function: &Function) -> Import {
        let signature = self.resolve.wasm_signature(AbiVariant::GuestImport, function);
        assert!(!signature.indirect_params, "{}: its arguments go through memory", function.name);
        let mut wants = Vec::new();
        let mut arguments: Vec<String> = Vec::new();
        for parameter in &function.params {
            if let Some(resource) = self.resource(&parameter.ty) {
                let name = self.resolve.types[resource].name.clone().unwrap_or_default();
                arguments.push(format!("(global.get ${name})"));
                wants.push(name);
            } else {
                let mut storage = [WasmType::I32; Resolve::MAX_FLAT_PARAMS];
                let mut flat = FlatTypes::new(&mut storage);
                self.resolve.push_flat(&parameter.ty, &mut flat);
                arguments.extend(flat.to_vec().into_iter().map(|kind| format!("({}.const 0)", text(kind))));
            }
        }
        if signature.retptr {
            arguments.push(format!("(i32.const {RESULT})"));
        }
        let drops = function.result.as_ref().map(|kind| self.drops_result(kind)).unwrap_or_default();
        let list = |what: &str, kinds: &[WasmType]| -> String {
            kinds.iter().map(|kind| format!(" ({what} {})", text(*kind))).collect()
        };
        Import {
            module: self.resolve.id_of(interface).expect("its name"),
            field: function.name.clone(),
            name: format!("{} {}", self.name(interface), function.name),
            signature: list("param", &signature.params) + &list("result", &signature.results),
            leaves_a_value: !signature.results.is_empty() && drops.is_empty(),
            has_a_size: function.params.iter().any(|parameter| self.has_a_size(&parameter.ty)),
            arguments: arguments.join(" "),
            wants,
            drops,
        }
    }

    /// What a type is behind its other names.
    fn behind(&self, kind: &Type) -> Option<&TypeDefKind> {
        let Type::Id(id) = kind else { return None };
        match &self.resolve.types[*id].kind {
            TypeDefKind::Type(inner @ Type::Id(_)) => self.behind(inner),
            other => Some(other),
        }
    }

    /// The resource of which this is a handle.
    fn resource(&self, kind: &Type) -> Option<TypeId> {
        let TypeDefKind::Handle(Handle::Own(id) | Handle::Borrow(id)) = self.behind(kind)? else {
            return None;
        };
        let mut id = *id;
        while let TypeDefKind::Type(Type::Id(inner)) = &self.resolve.types[id].kind {
            id = *inner;
        }
        Some(id)
    }

    fn has_a_size(&self, kind: &Type) -> bool {
        match kind {
            Type::String | Type::U64 => true,
            Type::Id(id) => match &self.resolve.types[*id].kind {
                TypeDefKind::List(_) => true,
                TypeDefKind::Type(inner) => self.has_a_size(inner),
                _ => false,
            },
            _ => false,
        }
    }

    /// What drops a handle among a call's results.
    fn drops_result(&self, kind: &Type) -> String {
        let call = |resource| format!("(call {})", self.drop_of(resource));
        let at = |discriminant: u32, resource| {
            format!(
                "(if (i32.eq (i32.load8_u (i32.const {RESULT})) (i32.const {discriminant})) (then (i32.load (i32.const {})) {}))",
                RESULT + 4,
                call(resource)
            )
        };
        if let Some(resource) = self.resource(kind) {
            return call(resource);
        }
        let inner = |kind: &Option<Type>| kind.as_ref().and_then(|kind| self.resource(kind));
        match self.behind(kind) {
            Some(TypeDefKind::Result(result)) => inner(&result.ok).map(|own| at(0, own)).unwrap_or_default(),
            Some(TypeDefKind::Option(some)) => self.resource(some).map(|own| at(1, own)).unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// A component of this core module in text.
    pub(crate) fn component(&self, core: &str) -> Result<Vec<u8>, String> {
        let mut module = wat::parse_str(core).map_err(|error| error.to_string())?;
        let encode = |module: &mut Vec<u8>| {
            embed_component_metadata(module, &self.resolve, self.world, StringEncoding::UTF8)?;
            ComponentEncoder::default().validate(true).module(module)?.encode()
        };
        encode(&mut module).map_err(|error| format!("{error:#}"))
    }
}

fn text(kind: WasmType) -> &'static str {
    match kind {
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The WIT files of the version of `wasmtime-wasi` that this workspace is locked to.
fn library() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked"]).current_dir(root());
    let metadata = command.output().expect("cargo starts").stdout;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).expect("cargo's metadata");
    let packages = metadata["packages"].as_array().expect("packages");
    let library = packages.iter().find(|package| package["name"] == "wasmtime-wasi").expect("wasmtime-wasi");
    let manifest = library["manifest_path"].as_str().expect("a path");
    Path::new(manifest).with_file_name("src").join("p2/wit")
}
