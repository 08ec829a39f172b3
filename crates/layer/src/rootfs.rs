//! A rootfs: an ordered list of layers, the lowest first. The value that every op of a build results in.

use super::LayerId;

/// Layers by name, the lowest first. Empty for `FROM scratch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rootfs {
    /// The lowest first.
    pub layers: Vec<LayerId>,
}

impl Rootfs {
    /// This rootfs with one more layer on top.
    pub fn with(&self, layer: LayerId) -> Rootfs {
        let mut layers = self.layers.clone();
        layers.push(layer);
        Rootfs { layers }
    }

    /// The layer on top: what the step that made this rootfs added.
    pub fn top(&self) -> Option<&LayerId> {
        self.layers.last()
    }
}
