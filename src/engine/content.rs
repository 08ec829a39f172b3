//! The content that a RUN or a WORKDIR depends on, for its settled key. This module does not know
//! how they use it.
//!
//! The content of a rootfs is a fold over the content digests of its layers, which are known or
//! stored, so no walk is needed. Of a mounted rootfs only the files below `source=` count, so these
//! are walked. A mount of the whole rootfs, and an image, are folded too: an image's files need not
//! be here yet.

use super::Job;
use super::bring::Form;
use crate::copy;
use base::error::Result;
use frontend::op::{Input, Mount, MountKind};
use layer::rootfs::Rootfs;
use solver::{Engine as _, Manifest, Role, Step};

impl Job<'_> {
    /// Describes the rootfs below a step; nothing for scratch.
    pub(super) fn describe_base(&self, at: &Step<'_, Self>, base: Option<Input>, to: &mut dyn Manifest) -> Result<()> {
        to.open("base");
        if let Some(base) = base {
            self.describe_layers(at.input(base)?, to)?;
        }
        to.close();
        Ok(())
    }

    /// Describes the content that a mount shows of another step's output.
    pub(super) fn describe_mount(&self, at: &Step<'_, Self>, mount: &Mount, to: &mut dyn Manifest) -> Result<()> {
        let (MountKind::Bind { input: Some(input), source, .. } | MountKind::Cache { from: Some(input), source, .. }) =
            &mount.kind
        else {
            return Ok(());
        };
        let (vertex, rootfs) = (at.graph.get(at.id), at.input(*input)?);
        let pinned = vertex.inputs.get(*input).is_some_and(|id| self.role(&at.graph.get(*id).op) == Role::Pinned);
        to.open("mounted");
        if pinned || source.split('/').all(|part| part.is_empty() || part == ".") {
            self.describe_layers(rootfs, to)?;
        } else {
            let number = self.step_of(at.id);
            let view = self.host.view(rootfs, Form::Tree, number)?;
            let below = self.host.phase(number, "select", || copy::below(&view, source))?;
            to.text("below", &below.map(|digest| digest.to_string()).unwrap_or_default());
        }
        to.close();
        Ok(())
    }

    fn describe_layers(&self, rootfs: &Rootfs, to: &mut dyn Manifest) -> Result<()> {
        for layer in &rootfs.layers {
            to.text("layer", &self.host.layers.content(layer)?.to_string());
        }
        Ok(())
    }
}
