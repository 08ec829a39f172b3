//! Checks that a result has the right layers: those of its base, and one for each step on top of
//! it. The record of a cache names the layers of a result, and a wrong record is not believed.

use super::Host;
use base::error::{Error, Kind, Result};
use frontend::op::{Op, Source};
use layer::rootfs::Rootfs;
use solver::{Graph, VertexId};

impl Host {
    /// Checks the result of a vertex. Wrong layers from a cache are forgotten, and the build starts
    /// again.
    pub fn check_chain(&self, graph: &Graph<Op>, id: VertexId, rootfs: &Rootfs) -> Result<()> {
        let travelled = || rootfs.layers.iter().filter(|layer| self.layers.travelled(layer));
        if travelled().next().is_none() || self.is_chain(graph, id, rootfs)? {
            return Ok(());
        }
        for layer in travelled() {
            if let Some(blob) = self.layers.record(layer).ok().and_then(|record| record.blob) {
                self.remote_caches.complain(&blob, &Error::new(Kind::Lost, "a record names layers of another result"));
                self.remote_caches.distrust(&blob);
            }
            self.layers.forget(layer);
        }
        Err(Error::new(Kind::Lost, "a record of a cache names layers of another result"))
    }

    fn is_chain(&self, graph: &Graph<Op>, id: VertexId, rootfs: &Rootfs) -> Result<bool> {
        let (mut steps, mut at) = (0, id);
        loop {
            let vertex = graph.get(at);
            let base = match &vertex.op {
                Op::Exec(exec) => exec.base,
                Op::Copy(copy) => copy.base,
                Op::File(file) => file.base,
                Op::Source(Source::Image { digest, .. }) => {
                    let base = self.image(digest)?.layers;
                    return Ok(rootfs.layers.len() == base.len() + steps && rootfs.layers.starts_with(&base));
                }
                Op::Source(Source::Context { .. }) => return Ok(rootfs.layers.len() == steps),
            };
            steps += 1;
            match base.and_then(|base| vertex.inputs.get(base)) {
                Some(below) => at = *below,
                None => return Ok(rootfs.layers.len() == steps),
            }
        }
    }
}
