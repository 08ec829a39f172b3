//! The forms of networks, volumes, secrets, configs and models.

use super::shapes::*;
use super::{Dict, Fields, Shape};

/// A mapping from names to values of one form.
pub const fn named(value: &'static Shape, open: bool) -> Dict {
    Dict { key: is_name, open, value }
}

const EXTERNAL_FIELDS: Fields = Fields { keys: &[("name", &TEXT)], ..OBJECT };
const EXTERNAL: Shape = Shape::Either(&[FLAG_TEXT, Shape::Fields(&EXTERNAL_FIELDS)]);
const OPEN_EXTERNAL_FIELDS: Fields = Fields { keys: &[("name", &TEXT)], open: true, ..OBJECT };
const OPEN_EXTERNAL: Shape = Shape::Either(&[FLAG_TEXT, Shape::Fields(&OPEN_EXTERNAL_FIELDS)]);

const TEXT_DICT: Dict = Dict { key: not_empty, open: false, value: &TEXT };
const POOL: Fields = Fields {
    keys: &[("aux_addresses", &Shape::Dict(&TEXT_DICT)), ("gateway", &TEXT), ("ip_range", &TEXT), ("subnet", &TEXT)],
    ..OBJECT
};
const IPAM: Fields = Fields {
    keys: &[
        ("config", &Shape::List(&Shape::Fields(&POOL), false)),
        ("driver", &TEXT),
        ("options", &Shape::Dict(&TEXT_DICT)),
    ],
    ..OBJECT
};

/// A network.
pub const NETWORK: Shape = Shape::Either(&[NULL, Shape::Fields(&NETWORK_FIELDS)]);
const NETWORK_FIELDS: Fields = Fields {
    keys: &[
        ("attachable", &FLAG_TEXT),
        ("driver", &TEXT),
        ("driver_opts", &DRIVER_OPTS),
        ("enable_ipv4", &FLAG_TEXT),
        ("enable_ipv6", &FLAG_TEXT),
        ("external", &EXTERNAL),
        ("internal", &FLAG_TEXT),
        ("ipam", &Shape::Fields(&IPAM)),
        ("labels", &LIST_OR_DICT),
        ("name", &TEXT),
    ],
    ..OBJECT
};

/// A volume.
pub const VOLUME: Shape = Shape::Either(&[NULL, Shape::Fields(&VOLUME_FIELDS)]);
const VOLUME_FIELDS: Fields = Fields {
    keys: &[
        ("driver", &TEXT),
        ("driver_opts", &DRIVER_OPTS),
        ("external", &EXTERNAL),
        ("labels", &LIST_OR_DICT),
        ("name", &TEXT),
    ],
    ..OBJECT
};

/// A secret.
pub const SECRET: Shape = Shape::Fields(&Fields {
    keys: &[
        ("driver", &TEXT),
        ("driver_opts", &DRIVER_OPTS),
        ("environment", &TEXT),
        ("external", &OPEN_EXTERNAL),
        ("file", &TEXT),
        ("labels", &LIST_OR_DICT),
        ("name", &TEXT),
        ("template_driver", &TEXT),
    ],
    ..OBJECT
});

/// A config.
pub const CONFIG: Shape = Shape::Fields(&Fields {
    keys: &[
        ("content", &TEXT),
        ("environment", &TEXT),
        ("external", &OPEN_EXTERNAL),
        ("file", &TEXT),
        ("labels", &LIST_OR_DICT),
        ("name", &TEXT),
        ("template_driver", &TEXT),
    ],
    ..OBJECT
});

/// A model.
pub const MODEL: Shape = Shape::Fields(&Fields {
    keys: &[("context_size", &WHOLE), ("model", &TEXT), ("name", &TEXT), ("runtime_flags", &TEXTS)],
    required: &["model"],
    ..OBJECT
});
