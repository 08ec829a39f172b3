//! The form of a whole file.

use super::resources::*;
use super::service::SERVICE;
use super::shapes::*;
use super::{Dict, Fields, Shape};

const INCLUDE: Shape = Shape::Either(&[TEXT, Shape::Fields(&INCLUDE_FIELDS)]);
const INCLUDE_FIELDS: Fields = Fields {
    keys: &[("env_file", &TEXT_OR_TEXTS), ("path", &TEXT_OR_TEXTS), ("project_directory", &TEXT)],
    extensions: false,
    ..OBJECT
};

const SERVICES: Dict = named(&Shape::Fields(&SERVICE), false);
const NETWORKS: Dict = named(&NETWORK, true);
const VOLUMES: Dict = named(&VOLUME, false);
const SECRETS: Dict = named(&SECRET, false);
const CONFIGS: Dict = named(&CONFIG, false);
const MODELS: Dict = named(&MODEL, true);

/// The keys of a file.
pub static TOP: Fields = Fields {
    keys: &[
        ("configs", &Shape::Dict(&CONFIGS)),
        ("include", &Shape::List(&INCLUDE, false)),
        ("models", &Shape::Dict(&MODELS)),
        ("name", &TEXT),
        ("networks", &Shape::Dict(&NETWORKS)),
        ("secrets", &Shape::Dict(&SECRETS)),
        ("services", &Shape::Dict(&SERVICES)),
        ("version", &TEXT),
        ("volumes", &Shape::Dict(&VOLUMES)),
    ],
    ..OBJECT
};
