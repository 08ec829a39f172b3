//! Where an image goes. One row an exporter; each is a file of its own.

mod directory;
mod layout;
mod named;
mod output;
mod plain;
pub mod registry;

use crate::image::manifest::{self, Flavor, Packing};
use crate::image::{Image, Refs};
use ::registry::Settings;
use base::attributes::Attributes;
use base::digest::Digest;
use base::error::{Error, Kind, Result};
use layer::{BaseBlob, Compression, Layers};
use oci_spec::image::Descriptor;
use std::collections::HashSet;
use std::path::PathBuf;

/// Takes images somewhere.
pub trait Exporter {
    /// Does it. Blobs of bases that are missing were fetched before, if [`Exporter::needs_bytes`] said so.
    fn export(&self, images: &[Image], layers: &Layers, watch: &Watch<'_>) -> Result<Exported>;
    /// Whether the bytes of all layers must be there.
    fn needs_bytes(&self) -> bool;
    /// Has blobs that are not here put where the image goes, as far as that works without their bytes coming here; those
    /// that are there come back.
    fn place(&self, images: &[Image], layers: &Layers, watch: &Watch<'_>) -> HashSet<Digest> {
        let _ = (images, layers, watch);
        HashSet::new()
    }
    /// How it packs the layers' blobs, if it does.
    fn packs(&self) -> Option<Packing> {
        None
    }
    /// For people: `exporting to OCI image format`.
    fn title(&self) -> &'static str;
}

/// What goes on during an export.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Told of a transfer: what, bytes so far and in all.
    pub progress: &'a (dyn Fn(&str, u64, u64) + Sync),
    /// Whether to give up.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// Nobody looks, nothing stops it.
pub const UNWATCHED: Watch<'static> = Watch { progress: &|_, _, _| {}, stop: &|| false };

/// What came out, for `--metadata-file`.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// Of the manifest or index, if one was made.
    pub descriptor: Option<Descriptor>,
    /// The names given.
    pub names: Vec<String>,
}

/// One way out.
pub struct Row {
    /// `type=` of `--output`.
    pub name: &'static str,
    /// For people.
    pub help: &'static str,
    /// The attributes it knows besides `type`.
    pub attributes: &'static [&'static str],
    make: fn(&Wanted) -> Result<Box<dyn Exporter>>,
}

/// An `--output` as it was wished.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// What was written.
    pub attributes: Attributes,
    /// `-t`.
    pub names: Vec<String>,
    /// Seconds since 1970: now, or SOURCE_DATE_EPOCH.
    pub now: i64,
    /// How registries are reached.
    pub settings: Settings,
    /// BUILDKIT_MULTI_PLATFORM: one image goes out in the form of several.
    pub multi: bool,
}

const PACKING: [&str; 4] = ["compression", "compression-level", "force-compression", "oci-mediatypes"];

/// All ways out.
pub const EXPORTERS: &[Row] = &[
    Row {
        name: "oci",
        help: "an OCI layout: a tarball, or with tar=false a directory",
        attributes: &["dest", "tar", "name", PACKING[0], PACKING[1], PACKING[2], PACKING[3], "rewrite-timestamp"],
        make: layout::oci,
    },
    Row {
        name: "docker",
        help: "a tarball for `docker load`, readable as an OCI layout too",
        attributes: &["dest", "tar", "name", PACKING[0], PACKING[1], PACKING[2], PACKING[3], "rewrite-timestamp"],
        make: layout::docker,
    },
    Row {
        name: "local",
        help: "the files of the image in a directory; mode=delete removes what else is there",
        attributes: &["dest", "mode", "platform-split"],
        make: directory::local,
    },
    Row {
        name: "tar",
        help: "the files of the image as a tarball",
        attributes: &["dest", "platform-split"],
        make: plain::tar,
    },
    Row {
        name: "image",
        help: "the store, under a name, and with push=true a registry too",
        attributes: &[
            "name",
            "push",
            "push-by-digest",
            "name-canonical",
            "store",
            "unpack",
            PACKING[0],
            PACKING[1],
            PACKING[2],
            PACKING[3],
            "rewrite-timestamp",
        ],
        make: named::image,
    },
    Row {
        name: "registry",
        help: "a registry: what --push means",
        attributes: &[
            "name",
            "push",
            "push-by-digest",
            "name-canonical",
            PACKING[0],
            PACKING[1],
            PACKING[2],
            PACKING[3],
            "rewrite-timestamp",
        ],
        make: registry::registry,
    },
];

/// The rows for people: what follows `kiln build --help`.
pub fn help() -> String {
    EXPORTERS
        .iter()
        .map(|row| format!("  type={:<9}{} ({})\n", row.name, row.help, row.attributes.join(", ")))
        .collect()
}

/// The exporter of an `--output`.
pub fn exporter(wanted: &Wanted) -> Result<Box<dyn Exporter>> {
    let row = EXPORTERS.iter().find(|row| row.name == wanted.attributes.kind);
    let row = row
        .ok_or_else(|| Error::unknown("output type", &wanted.attributes.kind, EXPORTERS.iter().map(|row| row.name)))?;
    if let Some(key) = wanted.attributes.keys().find(|key| !row.attributes.contains(key)) {
        return Err(Error::unknown(&format!("attribute of type={}", row.name), key, row.attributes.iter().copied()));
    }
    (row.make)(wanted)
}

/// How the first of these outputs that packs blobs does it.
pub fn packs(outputs: &[Wanted]) -> Result<Option<Packing>> {
    for output in outputs {
        if let Some(packing) = exporter(output)?.packs() {
            return Ok(Some(packing));
        }
    }
    Ok(None)
}

impl Wanted {
    /// A path, or none for standard output.
    fn dest(&self) -> Result<Option<PathBuf>> {
        match self.attributes.text("dest") {
            Some("-") => Ok(None),
            Some(path) => Ok(Some(path.into())),
            None => Err(Error::new(Kind::Usage, format!("type={} needs dest=", self.attributes.kind))
                .hint("a path, or `-` for standard output")),
        }
    }

    /// Whether each platform has a folder of its own; none if that depends on how many there are.
    fn split(&self) -> Result<Option<bool>> {
        let said = self.attributes.has("platform-split");
        let said = said.then(|| self.attributes.flag("platform-split", true)).transpose()?;
        Ok(said.or(self.multi.then_some(true)))
    }

    /// The directory that loses what the image does not have: `type=local,mode=delete`.
    pub fn emptied(&self) -> Option<PathBuf> {
        let deletes = self.attributes.kind == "local" && self.attributes.text("mode") == Some("delete");
        self.attributes.text("dest").filter(|_| deletes).map(PathBuf::from)
    }

    /// Whether the output goes to standard output.
    pub fn is_standard_output(&self) -> bool {
        self.attributes.text("dest") == Some("-")
    }

    /// How blobs are made; `oci` if nothing is said of the media types.
    fn packing(&self, oci: bool) -> Result<Packing> {
        self.attributes.flag("rewrite-timestamp", true)?;
        Ok(Packing {
            compression: Compression::wanted(&self.attributes)?,
            force: self.attributes.flag("force-compression", false)?,
            flavor: if self.attributes.flag("oci-mediatypes", oci)? { Flavor::Oci } else { Flavor::Docker },
            flavor_asked: self.attributes.has("oci-mediatypes"),
        })
    }

    /// The names of `name=` and `-t`.
    fn all_names(&self) -> Vec<String> {
        let own = self
            .attributes
            .text("name")
            .into_iter()
            .flat_map(|names| names.split(','))
            .filter(|name| !name.is_empty())
            .map(str::to_owned);
        let mut names: Vec<String> = own.collect();
        names.extend(self.names.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
        names
    }
}

/// The blobs that an export of images of the store needs and the store lacks, each once.
fn missing(images: &[Image], layers: &Layers) -> Result<Vec<BaseBlob>> {
    let mut missing: Vec<_> =
        images.iter().flat_map(|image| &image.layers).filter_map(|layer| layers.missing_blob(layer)).collect();
    for image in images {
        let original = manifest::original(image, layers.store())?;
        missing.extend(original.into_iter().flat_map(|original| original.missing(layers.store())));
    }
    missing.sort_by_key(|blob| blob.digest);
    missing.dedup_by_key(|blob| blob.digest);
    Ok(missing)
}

/// `kiln save`: an image of the store as a tarball.
pub fn save(layers: &Layers, name: &str, dest: &str, format: &str) -> Result<()> {
    let refs = Refs::new(layers.store());
    let entry = refs.get(name)?.ok_or_else(|| {
        Error::new(Kind::Usage, format!("there is no image `{name}`")).hint("`kiln images` lists them")
    })?;
    let images = refs.images(&entry)?;
    if let Some(blob) = missing(&images, layers)?.first() {
        let error = Error::new(Kind::Source, format!("the layer {} was never brought here", blob.digest));
        return Err(error.hint("build once with `-o type=oci,...`, or pull the image, which brings it"));
    }
    // The archive is in that format; a manifest that came in the other is written anew.
    let oci = if format == "oci" { "true" } else { "false" };
    let attributes = Attributes::new(format, [("dest", dest), ("oci-mediatypes", oci)]);
    let wanted = Wanted { attributes, names: vec![entry.name], ..Wanted::default() };
    exporter(&wanted)?.export(&images, layers, &UNWATCHED).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(kind: &str, attributes: &[(&str, &str)]) -> Wanted {
        Wanted { attributes: Attributes::new(kind, attributes.iter().copied()), ..Wanted::default() }
    }

    fn refusal(kind: &str, attributes: &[(&str, &str)]) -> String {
        match exporter(&wanted(kind, attributes)) {
            Ok(_) => panic!("{kind} was taken"),
            Err(error) => format!("{error} ({})", error.hints().join("; ")),
        }
    }

    #[test]
    fn rows_are_unique_documented_and_refuse_what_they_do_not_know() {
        for row in EXPORTERS {
            assert_eq!(EXPORTERS.iter().filter(|other| other.name == row.name).count(), 1);
            assert!(!row.help.is_empty());
            assert!(refusal(row.name, &[("nonsense", "1"), ("dest", "x")]).contains("unknown attribute"));
        }
        assert!(refusal("ocii", &[]).contains("did you mean `oci`?"));
        assert!(refusal("oci", &[("dst", "x")]).contains("did you mean `dest`?"));
        assert!(refusal("oci", &[("dest", "x"), ("compression", "gzpi")]).contains("did you mean `gzip`?"));
        assert!(refusal("oci", &[]).contains("needs dest="));
    }
}
