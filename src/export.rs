//! Exports images. Each exporter is one row and one file.

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

/// Exports images to one kind of destination.
pub trait Exporter {
    /// Exports images. If [`Exporter::needs_bytes`] returns true, missing blobs of base layers were
    /// downloaded before.
    fn export(&self, images: &[Image], layers: &Layers, watch: &Watch<'_>) -> Result<Exported>;
    /// True if the bytes of all layers are needed.
    fn needs_bytes(&self) -> bool;
    /// Copies missing blobs to the destination without downloading them, if possible, and returns
    /// those that the destination has.
    fn place(&self, images: &[Image], layers: &Layers, watch: &Watch<'_>) -> HashSet<Digest> {
        let _ = (images, layers, watch);
        HashSet::new()
    }
    /// The packing of layer blobs, if it packs any.
    fn packs(&self) -> Option<Packing> {
        None
    }
    /// The title of the step: `exporting to OCI image format`.
    fn title(&self) -> &'static str;
}

/// The observer of an export.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Receives the progress of a transfer: its name, bytes so far, and total bytes.
    pub progress: &'a (dyn Fn(&str, u64, u64) + Sync),
    /// Returns true if the export should stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// Without progress or stop.
pub const UNWATCHED: Watch<'static> = Watch { progress: &|_, _, _| {}, stop: &|| false };

/// The result of an export, for `--metadata-file`.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// The descriptor of the manifest or index, if one was made.
    pub descriptor: Option<Descriptor>,
    /// The names of the image.
    pub names: Vec<String>,
}

/// One exporter.
pub struct Row {
    /// The `type=` of `--output`.
    pub name: &'static str,
    /// The description for the user.
    pub help: &'static str,
    /// The attributes besides `type`.
    pub attributes: &'static [&'static str],
    make: fn(&Wanted) -> Result<Box<dyn Exporter>>,
}

/// An `--output` option.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The attributes in the option.
    pub attributes: Attributes,
    /// The names from `-t`.
    pub names: Vec<String>,
    /// The time of the build in seconds since 1970: now, or SOURCE_DATE_EPOCH.
    pub now: i64,
    /// The settings for registries.
    pub settings: Settings,
    /// BUILDKIT_MULTI_PLATFORM: true if one image is exported in the form of several.
    pub multi: bool,
}

const PACKING: [&str; 4] = ["compression", "compression-level", "force-compression", "oci-mediatypes"];

/// All exporters.
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

/// The rows as text for `kiln build --help`.
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

/// The packing of the first output that packs blobs.
pub fn packs(outputs: &[Wanted]) -> Result<Option<Packing>> {
    for output in outputs {
        if let Some(packing) = exporter(output)?.packs() {
            return Ok(Some(packing));
        }
    }
    Ok(None)
}

impl Wanted {
    /// The path; `None` for standard output.
    fn dest(&self) -> Result<Option<PathBuf>> {
        match self.attributes.text("dest") {
            Some("-") => Ok(None),
            Some(path) => Ok(Some(path.into())),
            None => Err(Error::new(Kind::Usage, format!("type={} needs dest=", self.attributes.kind))
                .hint("a path, or `-` for standard output")),
        }
    }

    /// True if each platform has a directory of its own; `None` if that depends on the number of
    /// platforms.
    fn split(&self) -> Result<Option<bool>> {
        let said = self.attributes.has("platform-split");
        let said = said.then(|| self.attributes.flag("platform-split", true)).transpose()?;
        Ok(said.or(self.multi.then_some(true)))
    }

    /// The directory that loses files which the image lacks: `type=local,mode=delete`.
    pub fn emptied(&self) -> Option<PathBuf> {
        let deletes = self.attributes.kind == "local" && self.attributes.text("mode") == Some("delete");
        self.attributes.text("dest").filter(|_| deletes).map(PathBuf::from)
    }

    /// True if the output is standard output.
    pub fn is_standard_output(&self) -> bool {
        self.attributes.text("dest") == Some("-")
    }

    /// The packing of blobs. `oci` selects the default media types.
    fn packing(&self, oci: bool) -> Result<Packing> {
        self.attributes.flag("rewrite-timestamp", true)?;
        Ok(Packing {
            compression: Compression::wanted(&self.attributes)?,
            force: self.attributes.flag("force-compression", false)?,
            flavor: if self.attributes.flag("oci-mediatypes", oci)? { Flavor::Oci } else { Flavor::Docker },
            flavor_asked: self.attributes.has("oci-mediatypes"),
        })
    }

    /// The names from `name=` and `-t`.
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

/// The blobs that an export of stored images needs and the store lacks, without duplicates.
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

/// Runs `kiln save`: writes an image of the store as a tarball.
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
    // The archive has this format; a manifest of the other format is converted.
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
