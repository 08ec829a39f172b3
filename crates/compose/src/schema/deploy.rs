//! The forms of `deploy`, `develop`, `gpus` and of hooks.

use super::shapes::*;
use super::{Fields, Shape};

/// The keys of `deploy`.
pub const DEPLOY: Shape = Shape::Either(&[NULL, Shape::Fields(&DEPLOY_FIELDS)]);

const DEPLOY_FIELDS: Fields = Fields {
    keys: &[
        ("endpoint_mode", &TEXT),
        ("labels", &LIST_OR_DICT),
        ("mode", &TEXT),
        ("placement", &Shape::Fields(&PLACEMENT)),
        ("replicas", &WHOLE_TEXT),
        ("resources", &Shape::Fields(&RESOURCES)),
        ("restart_policy", &Shape::Fields(&RESTART_POLICY)),
        ("rollback_config", &Shape::Fields(&UPDATE)),
        ("update_config", &Shape::Fields(&UPDATE)),
    ],
    ..OBJECT
};

const PREFERENCE: Fields = Fields { keys: &[("spread", &TEXT)], ..OBJECT };
const PLACEMENT: Fields = Fields {
    keys: &[
        ("constraints", &TEXTS),
        ("max_replicas_per_node", &WHOLE_TEXT),
        ("preferences", &Shape::List(&Shape::Fields(&PREFERENCE), false)),
    ],
    ..OBJECT
};

const RESTART_POLICY: Fields = Fields {
    keys: &[("condition", &TEXT), ("delay", &TEXT), ("max_attempts", &WHOLE_TEXT), ("window", &TEXT)],
    ..OBJECT
};

const UPDATE: Fields = Fields {
    keys: &[
        ("delay", &TEXT),
        ("failure_action", &TEXT),
        ("max_failure_ratio", &NUMBER_TEXT),
        ("monitor", &TEXT),
        ("order", &Shape::Enum(&["start-first", "stop-first"])),
        ("parallelism", &WHOLE_TEXT),
    ],
    ..OBJECT
};

const RESOURCES: Fields =
    Fields { keys: &[("limits", &Shape::Fields(&LIMITS)), ("reservations", &Shape::Fields(&RESERVATIONS))], ..OBJECT };
const LIMITS: Fields = Fields { keys: &[("cpus", &NUMBER_TEXT), ("memory", &TEXT), ("pids", &WHOLE_TEXT)], ..OBJECT };
const RESERVATIONS: Fields = Fields {
    keys: &[
        ("cpus", &NUMBER_TEXT),
        ("devices", &Shape::List(&Shape::Fields(&DEVICE), false)),
        ("generic_resources", &Shape::List(&Shape::Fields(&GENERIC), false)),
        ("memory", &TEXT),
    ],
    ..OBJECT
};

const GENERIC: Fields = Fields { keys: &[("discrete_resource_spec", &Shape::Fields(&DISCRETE))], ..OBJECT };
const DISCRETE: Fields = Fields { keys: &[("kind", &TEXT), ("value", &NUMBER_TEXT)], ..OBJECT };

const DEVICE: Fields = Fields { required: &["capabilities"], open: false, ..GPU };
const GPU: Fields = Fields {
    keys: &[
        ("capabilities", &UNIQUE_TEXTS),
        ("count", &WHOLE_TEXT),
        ("device_ids", &UNIQUE_TEXTS),
        ("driver", &TEXT),
        ("options", &LIST_OR_DICT),
    ],
    open: true,
    ..OBJECT
};
/// `all`, or a list of devices.
pub const GPUS: Shape = Shape::Either(&[Shape::Enum(&["all"]), Shape::List(&Shape::Fields(&GPU), false)]);

/// The keys of `develop`.
pub const DEVELOP: Shape = Shape::Either(&[NULL, Shape::Fields(&DEVELOP_FIELDS)]);
const DEVELOP_FIELDS: Fields = Fields { keys: &[("watch", &Shape::List(&Shape::Fields(&WATCH), false))], ..OBJECT };
const WATCH: Fields = Fields {
    keys: &[
        ("action", &Shape::Enum(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"])),
        ("exec", &Shape::Fields(&HOOK)),
        ("ignore", &TEXT_OR_TEXTS),
        ("include", &TEXT_OR_TEXTS),
        ("initial_sync", &FLAG),
        ("path", &TEXT),
        ("target", &TEXT),
    ],
    required: &["path", "action"],
    ..OBJECT
};

/// A command that runs in a container after its start or before its stop.
pub const HOOK: Fields = Fields {
    keys: &[
        ("command", &COMMAND),
        ("environment", &LIST_OR_DICT),
        ("privileged", &FLAG_TEXT),
        ("user", &TEXT),
        ("working_dir", &TEXT),
    ],
    required: &["command"],
    ..OBJECT
};

/// A container that runs before the service starts.
pub const PRE_START_HOOK: Fields = Fields {
    keys: &[
        ("command", &COMMAND),
        ("environment", &LIST_OR_DICT),
        ("image", &TEXT),
        ("per_replica", &FLAG_TEXT),
        ("privileged", &FLAG_TEXT),
        ("user", &TEXT),
        ("working_dir", &TEXT),
    ],
    ..OBJECT
};
