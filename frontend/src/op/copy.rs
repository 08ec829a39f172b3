//! COPY and ADD: sources, destination, owner and mode.

use super::{Input, input};
use solver::{Describe, Manifest};

/// Files into a rootfs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// The rootfs the layer goes on; none on `FROM scratch`.
    pub base: Option<Input>,
    /// The layer is made without looking at the base (`--link`), so the base does not enter the key.
    pub link: bool,
    /// Taken in order; later ones replace earlier ones.
    pub sources: Vec<CopySource>,
    /// Absolute; a trailing slash says that it is a directory.
    pub dest: String,
    /// `--chown` as written and expanded: `user`, `user:group`, ids or names.
    pub owner: Option<String>,
    /// `--chmod` as written and expanded: octal or symbolic, checked by the frontend.
    pub mode: Option<String>,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude` patterns, relative to each source.
    pub exclude: Vec<String>,
    /// The treatment of archives.
    pub unpack: Unpack,
}

/// One source of a COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path or pattern in an input: a context or a rootfs.
    Path {
        /// Where it is looked up.
        input: Input,
        /// As written and expanded; relative paths start at the root of the input.
        path: String,
    },
    /// The same, but never unpacked: what ADD fetched.
    Raw {
        /// Where it is looked up.
        input: Input,
        /// As for `Path`.
        path: String,
    },
    /// A path with all that is on the way to it, links followed and kept: what a mount of it needs.
    Tree {
        /// Where it is looked up.
        input: Input,
        /// Absolute.
        path: String,
    },
    /// A here-document.
    Inline {
        /// The file's name.
        name: String,
        /// The content of the file.
        data: Vec<u8>,
    },
}

/// The treatment of local archives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unpack {
    /// They are files like others: COPY, `ADD --unpack=false`.
    #[default]
    Never,
    /// Those that are archives by their content are unpacked: ADD.
    Archives,
    /// Every source is unpacked: `ADD --unpack=true`.
    Always,
}

impl Describe for Copy {
    fn describe(&self, to: &mut dyn Manifest) {
        let Copy { base, link, sources, dest, owner, mode, parents, exclude, unpack } = self;
        to.text("op", "copy");
        if !link {
            input(to, "base", *base);
        }
        to.flag("link", *link);
        to.text("dest", dest);
        to.text("owner", owner.as_deref().unwrap_or(""));
        to.text("mode", mode.as_deref().unwrap_or(""));
        to.flag("parents", *parents);
        to.texts("exclude", exclude);
        to.text(
            "unpack",
            match unpack {
                Unpack::Never => "never",
                Unpack::Archives => "archives",
                Unpack::Always => "always",
            },
        );
        to.open("sources");
        for source in sources {
            match source {
                CopySource::Path { input: from, path } => {
                    input(to, "from", Some(*from));
                    to.text("path", path);
                }
                CopySource::Raw { input: from, path } => {
                    input(to, "from", Some(*from));
                    to.text("raw", path);
                }
                CopySource::Tree { input: from, path } => {
                    input(to, "from", Some(*from));
                    to.text("tree", path);
                }
                CopySource::Inline { name, data } => {
                    to.text("inline", name);
                    to.bytes("data", data);
                }
            }
        }
        to.close();
    }
}
