//! An image: a config and layers, assembled from the result of a build; and the named images of the
//! store.
//!
//! ```text
//! <root>/refs-v1/<64 hex of the name>    JSON: the name, its time, and for each platform
//!                                        the config's digest and the layers
//! ```
//! A ref is written under a temporary name and renamed. GC rule: refs are the roots of the
//! collector.

mod format;
pub mod list;
pub mod manifest;
pub mod pull;
pub mod refs;

pub use refs::Refs;

use base::clock::rfc3339;
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use frontend::config::{History, RootFs};
use frontend::plan::{Past, Plan};
use layer::{LayerId, LayerKind, Layers};

use frontend::platform::Platform;
use solver::Bug;

/// The `comment` in the history.
const COMMENT: &str = "kiln.dockerfile.v0";

/// An image of one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The bytes of the config blob.
    pub config: Vec<u8>,
    /// The digest of the config: the image ID.
    pub id: Digest,
    /// The layers, the lowest first.
    pub layers: Vec<LayerId>,
    /// The platform of the image.
    pub platform: Platform,
    /// SOURCE_DATE_EPOCH, the latest time in the image.
    pub epoch: Option<i64>,
    /// The manifest that it was pulled with, which is pushed unchanged.
    pub manifest: Option<Digest>,
}

/// Assembles the image of a plan from the layers of its result: those of the base, and one for each
/// step that made one. A different number of layers is a bug. `more` is another field of the
/// config.
pub fn assemble(
    plan: &Plan,
    layers: &[LayerId],
    epoch: Option<i64>,
    store: &Layers,
    more: Option<(&str, String)>,
) -> Result<Image> {
    let (mut config, past, platform) = (plan.config.clone(), &plan.history, &plan.platform);
    let times = layers.iter().map(|layer| Ok(store.record(layer)?.created)).collect::<Result<Vec<i64>>>()?;
    let base_layers = plan.base_layers.len();
    let new_layers = past.iter().filter(|past| matches!(past, Past::New { vertex: Some(_), .. })).count();
    if layers.len() != base_layers + new_layers {
        return Err(Bug("an image has not as many layers as its base and its steps").into());
    }
    let clamp = |time: i64| epoch.map_or(time, |epoch| time.min(epoch));
    let base: Vec<History> = past
        .iter()
        .filter_map(|past| if let Past::Base(history) = past { Some(history.clone()) } else { None })
        .collect();
    config.history = normal(base, base_layers);

    let mut next = base_layers;
    let begun = times.get(base_layers..).unwrap_or_default().iter().copied().min();
    let mut now = clamp(begun.unwrap_or_else(|| epoch.unwrap_or_else(|| times.last().copied().unwrap_or(0))));
    for past in past {
        let Past::New { created_by, vertex } = past else { continue };
        if vertex.is_some() {
            now = clamp(times[next]);
            next += 1;
        }
        config.history.push(History {
            created: Some(rfc3339(now)),
            created_by: created_by.clone(),
            comment: COMMENT.to_owned(),
            empty_layer: vertex.is_none(),
            ..History::default()
        });
    }
    let last = clamp(times.iter().skip(base_layers).copied().max().unwrap_or(now));
    config.created = Some(rfc3339(epoch.unwrap_or(last)));
    let diff_ids =
        layers.iter().map(|layer| Ok(store.diff_id(layer, epoch)?.to_string())).collect::<Result<Vec<String>>>()?;
    for ((layer, is), wanted) in layers.iter().zip(&diff_ids).zip(&plan.base_layers) {
        // A layer of an image that was built here has another diff ID if its times are clamped
        // differently.
        if is != wanted && store.record(layer)?.kind == LayerKind::Base {
            return Err(Bug("an image does not begin with the layers of its base").into());
        }
    }
    config.rootfs = RootFs { diff_ids, ..RootFs::default() };
    let failed = |cause: serde_json::Error| Error::new(Kind::Export, "cannot write the config").because(cause);
    let config = match more {
        None => serde_json::to_vec(&config).map_err(failed)?,
        Some((field, text)) => {
            let mut value = serde_json::to_value(&config).map_err(failed)?;
            value[field] = text.into();
            serde_json::to_vec(&value).map_err(failed)?
        }
    };
    let id = Digest::of(&config);
    store.store().put_blob(&config)?;
    Ok(Image { config, id, layers: layers.to_vec(), platform: platform.clone(), epoch, manifest: None })
}

/// Makes the number of entries with a layer equal to the number of layers: adds missing entries,
/// and marks surplus ones as empty.
fn normal(mut history: Vec<History>, layers: usize) -> Vec<History> {
    let mut count = 0;
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        count += 1;
        entry.empty_layer = count > layers;
    }
    while count < layers {
        history.push(History { created_by: "layer of the base image".to_owned(), ..History::default() });
        count += 1;
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_whose_history_does_not_fit_is_mended() {
        let entry = |empty_layer| History { empty_layer, ..History::default() };
        let layers = |history: &[History]| history.iter().filter(|entry| !entry.empty_layer).count();
        assert_eq!(layers(&normal(vec![entry(true)], 2)), 2);
        assert_eq!(layers(&normal(vec![entry(false), entry(false), entry(true)], 1)), 1);
    }
}
