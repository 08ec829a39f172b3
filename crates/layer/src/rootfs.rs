//! A rootfs: an ordered list of layers, the lowest first. Every op of a build results in one.

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

    /// The topmost layer.
    pub fn top(&self) -> Option<&LayerId> {
        self.layers.last()
    }
}
