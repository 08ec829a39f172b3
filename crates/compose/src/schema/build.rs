//! The form of `build`.

use super::shapes::*;
use super::{Fields, Shape};

/// The directory of the context, or the keys of a build.
pub const BUILD: Shape = Shape::Either(&[TEXT, Shape::Fields(&BUILD_FIELDS)]);

/// The keys of `build`.
pub const BUILD_FIELDS: Fields = Fields {
    keys: &[
        ("additional_contexts", &LIST_OR_DICT),
        ("args", &LIST_OR_DICT),
        ("cache_from", &TEXTS),
        ("cache_to", &TEXTS),
        ("context", &TEXT),
        ("dockerfile", &TEXT),
        ("dockerfile_inline", &TEXT),
        ("entitlements", &TEXTS),
        ("extra_hosts", &EXTRA_HOSTS),
        ("isolation", &TEXT),
        ("labels", &LIST_OR_DICT),
        ("network", &TEXT),
        ("no_cache", &FLAG_TEXT),
        ("no_cache_filter", &TEXT_OR_TEXTS),
        ("platforms", &TEXTS),
        ("privileged", &FLAG_TEXT),
        ("provenance", &FLAG_TEXT),
        ("pull", &FLAG_TEXT),
        ("sbom", &FLAG_TEXT),
        ("secrets", &MOUNTED_FILES),
        ("shm_size", &WHOLE_TEXT),
        ("ssh", &LIST_OR_DICT),
        ("tags", &TEXTS),
        ("target", &TEXT),
        ("ulimits", &ULIMITS),
    ],
    ..OBJECT
};
