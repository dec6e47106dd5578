//! A project's contract: the folder `wit` and the one world in it.
//!
//! Read here before any compiler starts, so that a mistake in it is reported in one way for every language,
//! with its line. Generates nothing.

use std::path::Path;

use anyhow::{Context, bail};
use wit_bindgen_core::wit_parser::{InterfaceId, PackageName, Resolve, WorldId, WorldItem};

use crate::cli::project::CONTRACT;

/// The world that a project is built for.
pub(super) struct Contract {
    /// Everything that its files define.
    pub(super) resolve: Resolve,
    /// The world, in there.
    pub(super) world: WorldId,
}

impl Contract {
    /// Reads the contract of the project in `folder`.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(CONTRACT);
        let mut resolve = Resolve::default();
        let package = match resolve.push_dir(&path) {
            Ok((package, _)) => package,
            Err(error) => bail!("{}", resolve.render_error(&error).trim_end()),
        };
        let world = resolve.select_world(&[package], None).with_context(|| {
            format!("{} must define one world, which the component is built for", path.display())
        })?;
        let contract = Self { resolve, world };
        if !contract
            .exports()
            .any(|(package, name)| is_ours(package) && package.name == "agent" && name == "agent")
        {
            bail!(
                "the world `{}` in {} does not export `stockade:agent/agent`; put `include stockade:agent/plugin@0.1.0;` into it",
                contract.world_name(),
                path.display()
            );
        }
        Ok(contract)
    }

    /// The world's name.
    pub(super) fn world_name(&self) -> &str {
        &self.resolve.worlds[self.world].name
    }

    /// The interfaces that the component exports.
    pub(super) fn exports(&self) -> impl Iterator<Item = (&PackageName, &str)> {
        self.named(&self.resolve.worlds[self.world].exports)
    }

    /// The interfaces that the component may import.
    pub(super) fn imports(&self) -> impl Iterator<Item = (&PackageName, &str)> {
        self.named(&self.resolve.worlds[self.world].imports)
    }

    fn named<'c, K: 'c>(
        &'c self,
        items: impl IntoIterator<Item = (&'c K, &'c WorldItem)>,
    ) -> impl Iterator<Item = (&'c PackageName, &'c str)> {
        items.into_iter().filter_map(|(_, item)| match item {
            WorldItem::Interface { id, .. } => self.name(*id),
            _ => None,
        })
    }

    fn name(&self, interface: InterfaceId) -> Option<(&PackageName, &str)> {
        let interface = &self.resolve.interfaces[interface];
        Some((&self.resolve.packages[interface.package?].name, interface.name.as_deref()?))
    }
}

/// Whether a package is one of Stockade's own.
pub(super) fn is_ours(package: &PackageName) -> bool {
    package.namespace == "stockade"
}
