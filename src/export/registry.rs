//! type=registry: pushes an image to each of its names. Blobs are sent first, several at once, then
//! the manifests, the one with the tag last, so that no client finds an image with a missing part.

use super::{Exported, Exporter, UNWATCHED, Wanted, Watch};
use crate::image::manifest::{Packed, Packing, pack_but, top};
use crate::image::{Image, Refs};
use crate::source::image::Images;
use base::attributes::Attributes;
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use base::sync::lock;
use cache::side_by_side;
use layer::{LayerId, Layers};
use oci_spec::image::Descriptor;
use registry::push::{Sent, Upload};
use registry::{Client, Reference, Settings, client};
use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of blobs sent at once.
const AT_ONCE: usize = 4;

/// A push to some names.
pub(super) struct Push {
    names: Vec<Reference>,
    by_digest: bool,
    /// True if the names are also returned with the digest.
    canonical: bool,
    packing: Packing,
    settings: Settings,
    multi: bool,
    /// The blobs that the registry has without a download to this machine.
    placed: Mutex<HashSet<Digest>>,
}

pub(super) fn registry(wanted: &Wanted) -> Result<Box<dyn Exporter>> {
    if !wanted.attributes.flag("push", true)? {
        return Err(Error::new(Kind::Usage, "type=registry with push=false goes nowhere").hint("use type=image"));
    }
    Ok(Box::new(Push::of(wanted)?))
}

impl Push {
    /// The push that an `--output` describes.
    pub(super) fn of(wanted: &Wanted) -> Result<Push> {
        let by_digest = wanted.attributes.flag("push-by-digest", false)?;
        let names = wanted.all_names().iter().map(|name| target(name, by_digest)).collect::<Result<Vec<_>>>()?;
        if names.is_empty() {
            return Err(Error::new(Kind::Usage, "there is no name to push to")
                .hint("give a name to push to, such as `-t registry.example/team/app:1`"));
        }
        let canonical = wanted.attributes.flag("name-canonical", false)?;
        let (packing, settings, multi) = (wanted.packing(true)?, wanted.settings.clone(), wanted.multi);
        Ok(Push { names, by_digest, canonical, packing, settings, multi, placed: Mutex::default() })
    }
}

/// A reference that can be pushed to.
fn target(name: &str, by_digest: bool) -> Result<Reference> {
    let reference: Reference = name.parse().map_err(|cause: String| Error::new(Kind::Usage, cause))?;
    if reference.digest.is_some() {
        return Err(Error::new(Kind::Usage, format!("`{name}` has a digest: what is pushed decides its own"))
            .hint("write the name with a tag, or push-by-digest=true"));
    }
    let tagged = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if by_digest && tagged {
        return Err(Error::new(Kind::Usage, format!("push-by-digest=true needs a name without a tag: `{name}`")));
    }
    Ok(reference)
}

impl Exporter for Push {
    fn needs_bytes(&self) -> bool {
        true
    }

    fn place(&self, images: &[Image], layers: &Layers, watch: &Watch<'_>) -> HashSet<Digest> {
        let mut missing = BTreeSet::new();
        for image in images {
            let own = |layer| layers.known_blob(layer, self.packing.compression, self.packing.force, image.epoch);
            let known = image.layers.iter().filter_map(own).map(|blob| blob.digest);
            missing.extend(known.filter(|digest| !layers.store().has(digest)));
        }
        let (missing, client) = (missing.into_iter().collect::<Vec<_>>(), Client::new(&self.settings));
        let origins = Images::new(layers.store().clone(), &self.settings);
        let place = |digest: &Digest| {
            let Some(from) = origins.origin(digest).filter(|_| !(watch.stop)()) else { return Ok(None) };
            let there = |to| Ok(client.has_blob(to, digest)? || client.mount_blob(to, digest, &from)?);
            // An error is reported when the bytes are sent.
            let all = self.names.iter().map(there).collect::<Result<Vec<bool>>>();
            Ok(all.is_ok_and(|all| all.into_iter().all(|there| there)).then_some(*digest))
        };
        let placed = side_by_side(&missing, AT_ONCE, &place).into_iter().flatten().flatten();
        let placed: HashSet<Digest> = placed.collect();
        lock(&self.placed).clone_from(&placed);
        placed
    }

    fn packs(&self) -> Option<Packing> {
        Some(self.packing)
    }

    fn title(&self) -> &'static str {
        "pushing the image"
    }

    fn export(&self, images: &[Image], layers: &Layers, watch: &Watch<'_>) -> Result<Exported> {
        let placed = lock(&self.placed).clone();
        let pack = |image| pack_but(image, layers, self.packing, &placed);
        let packed = images.iter().map(pack).collect::<Result<Vec<_>>>()?;
        let top = top(&packed, self.packing.flavor, self.multi)?;
        let shipment = Shipment {
            client: Client::new(&self.settings),
            origins: Images::new(layers.store().clone(), &self.settings),
            layers,
            packed: &packed,
            placed: &placed,
            top: &top,
            watch,
        };
        for (done, to) in self.names.iter().enumerate() {
            shipment.send(to, &self.names[..done], self.by_digest)?;
        }
        let canonical = |to: &Reference| format!("{}/{}@{}", to.registry, to.repository, top.0.digest());
        let names = |to: &Reference| {
            let tagged = (!self.by_digest).then(|| to.to_string());
            tagged.into_iter().chain((self.by_digest || self.canonical).then(|| canonical(to)))
        };
        let names = self.names.iter().flat_map(names).collect();
        Ok(Exported { descriptor: Some(top.0), names })
    }
}

/// The content that is pushed to each name.
struct Shipment<'a> {
    client: Client,
    origins: Images,
    layers: &'a Layers,
    packed: &'a [Packed],
    /// The blobs that every name already has.
    placed: &'a HashSet<Digest>,
    /// The manifest or index that the name will refer to.
    top: &'a (Descriptor, Vec<u8>),
    watch: &'a Watch<'a>,
}

impl Shipment<'_> {
    /// Pushes to one name. `earlier` are names that already have everything.
    fn send(&self, to: &Reference, earlier: &[Reference], by_digest: bool) -> Result<()> {
        let blobs: BTreeSet<(Digest, u64)> = self.packed.iter().flat_map(|one| one.blobs.iter().copied()).collect();
        let blobs: Vec<(Digest, u64)> = blobs.into_iter().filter(|(digest, _)| !self.placed.contains(digest)).collect();
        self.blobs(to, earlier, &blobs)?;
        let (descriptor, bytes) = self.top;
        if self.packed.iter().any(|one| one.descriptor.digest() != descriptor.digest()) {
            for one in self.packed {
                let under = Reference { tag: None, digest: Some(Digest::of(&one.manifest)), ..to.clone() };
                self.client.push_manifest(&under, one.descriptor.media_type().as_ref(), &one.manifest)?;
            }
        }
        let digest = by_digest.then(|| Digest::of(bytes));
        let under = Reference { tag: to.tag.clone().filter(|_| !by_digest), digest, ..to.clone() };
        self.client.push_manifest(&under, descriptor.media_type().as_ref(), bytes).map(drop)
    }

    fn blobs(&self, to: &Reference, earlier: &[Reference], blobs: &[(Digest, u64)]) -> Result<()> {
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let failed = || failure.lock().map_or(true, |failure| failure.is_some());
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(blobs.len()) {
                scope.spawn(|| {
                    while let Some((digest, size)) = blobs.get(next.fetch_add(1, Ordering::SeqCst)) {
                        let stop = || (self.watch.stop)() || failed();
                        if stop() {
                            return;
                        }
                        if let (Err(error), Ok(mut failure)) =
                            (self.blob(to, earlier, digest, *size, &stop), failure.lock())
                        {
                            failure.get_or_insert(error);
                        }
                    }
                });
            }
        });
        if let Some(error) = failure.into_inner().unwrap_or_default() {
            return Err(error);
        }
        if (self.watch.stop)() {
            Err(Error::new(Kind::Interrupted, "interrupted; nothing has the name yet"))
        } else {
            Ok(())
        }
    }

    fn blob(
        &self,
        to: &Reference,
        earlier: &[Reference],
        digest: &Digest,
        size: u64,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        let what = format!("{digest:.19}");
        let watch = client::Watch { progress: &|done| (self.watch.progress)(&what, done, size), stop };
        let sources: Vec<Reference> = self.origins.origin(digest).into_iter().chain(earlier.iter().cloned()).collect();
        let path = self.layers.store().blob_path(digest);
        let sent = self.client.push_blob(to, Upload { digest, size, path: &path }, &sources, &watch)?;
        if sent != Sent::Uploaded {
            (self.watch.progress)(&what, size, size);
        }
        Ok(())
    }
}

/// A push of an image in the store.
pub struct StoredPush<'a> {
    /// The name or id of the image.
    pub image: &'a str,
    /// The name to push to, if it differs.
    pub dest: Option<&'a str>,
    /// `type=registry`, with `compression=` and `oci-mediatypes=`.
    pub attributes: Attributes,
}

/// Runs `kiln push` and returns `name@digest`.
pub fn push(layers: &Layers, wish: StoredPush<'_>, settings: &Settings) -> Result<String> {
    let refs = Refs::new(layers.store());
    let entry = refs.get(wish.image)?.ok_or_else(|| {
        Error::new(Kind::Usage, format!("there is no image `{}`", wish.image)).hint("`kiln images` lists them")
    })?;
    let to = wish.dest.unwrap_or(&entry.name).to_owned();
    let wanted =
        Wanted { attributes: wish.attributes, names: vec![to], settings: settings.clone(), ..Wanted::default() };
    let exporter = super::exporter(&wanted)?;
    let images = refs.images(&entry)?;
    let missing = super::missing(&images, layers)?;
    let source = Images::new(layers.store().clone(), settings);
    source.fetch(&missing, UNWATCHED.progress, UNWATCHED.stop)?;
    // An imported layer is checked against its record before it is pushed.
    let new = |layer: &&LayerId| {
        let blob = layers.record(layer).ok().and_then(|record| record.blob);
        layers.travelled(layer) && blob.is_some_and(|blob| missing.contains(&blob))
    };
    images.iter().flat_map(|image| &image.layers).filter(new).try_for_each(|layer| layers.verify(layer))?;
    let exported = exporter.export(&images, layers, &UNWATCHED)?;
    let digest = exported.descriptor.map(|descriptor| descriptor.digest().to_string()).unwrap_or_default();
    Ok(format!("{}@{digest}", exported.names.join(",")))
}
