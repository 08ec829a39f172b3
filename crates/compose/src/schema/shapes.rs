//! Forms that many keys share.

use super::{Dict, Fields, Shape, Types};

const NONE: Types = Types { null: false, flag: false, whole: false, number: false, text: false };

/// A text.
pub const TEXT: Shape = Shape::Scalar(Types { text: true, ..NONE });
/// A text or nothing.
pub const TEXT_OR_NULL: Shape = Shape::Scalar(Types { text: true, null: true, ..NONE });
/// A boolean.
pub const FLAG: Shape = Shape::Scalar(Types { flag: true, ..NONE });
/// A boolean, or a text, which may hold a variable.
pub const FLAG_TEXT: Shape = Shape::Scalar(Types { flag: true, text: true, ..NONE });
/// A whole number.
pub const WHOLE: Shape = Shape::Scalar(Types { whole: true, ..NONE });
/// A whole number or a text.
pub const WHOLE_TEXT: Shape = Shape::Scalar(Types { whole: true, text: true, ..NONE });
/// A number.
pub const NUMBER: Shape = Shape::Scalar(Types { number: true, ..NONE });
/// A number or a text.
pub const NUMBER_TEXT: Shape = Shape::Scalar(Types { number: true, text: true, ..NONE });
/// A text, a number or a boolean.
pub const PLAIN: Shape = Shape::Scalar(Types { number: true, text: true, flag: true, ..NONE });
/// A text, a number, a boolean or nothing.
pub const PLAIN_OR_NULL: Shape = Shape::Scalar(Types { number: true, text: true, flag: true, null: true, ..NONE });
/// A text, a number or nothing.
pub const OPTION: Shape = Shape::Scalar(Types { number: true, text: true, null: true, ..NONE });
/// Nothing.
pub const NULL: Shape = Shape::Scalar(Types { null: true, ..NONE });

/// Texts.
pub const TEXTS: Shape = Shape::List(&TEXT, false);
/// Texts that differ.
pub const UNIQUE_TEXTS: Shape = Shape::List(&TEXT, true);
/// A text or a list of texts that differ.
pub const TEXT_OR_TEXTS: Shape = Shape::Either(&[TEXT, UNIQUE_TEXTS]);
/// A command: a text or its words.
pub const COMMAND: Shape = Shape::Either(&[NULL, TEXT, TEXTS]);

const PLAIN_DICT: Dict = Dict { key: not_empty, open: false, value: &PLAIN_OR_NULL };
/// `KEY: value` or a list of `KEY=value`.
pub const LIST_OR_DICT: Shape = Shape::Either(&[Shape::Dict(&PLAIN_DICT), UNIQUE_TEXTS]);

const HOST: Shape = Shape::Either(&[TEXT, TEXTS]);
const HOST_DICT: Dict = Dict { key: not_empty, open: false, value: &HOST };
/// Names and addresses.
pub const EXTRA_HOSTS: Shape = Shape::Either(&[Shape::Dict(&HOST_DICT), UNIQUE_TEXTS]);

const DRIVER_DICT: Dict = Dict { key: not_empty, open: true, value: &NUMBER_TEXT };
/// The options of a driver.
pub const DRIVER_OPTS: Shape = Shape::Dict(&DRIVER_DICT);

const MOUNTED_FILE_FIELDS: Fields = Fields {
    keys: &[("gid", &TEXT), ("mode", &NUMBER_TEXT), ("source", &TEXT), ("target", &TEXT), ("uid", &TEXT)],
    ..OBJECT
};
/// The secrets or configs of a service.
pub const MOUNTED_FILES: Shape = Shape::List(&Shape::Either(&[TEXT, Shape::Fields(&MOUNTED_FILE_FIELDS)]), false);

const ULIMIT_FIELDS: Fields =
    Fields { keys: &[("hard", &WHOLE_TEXT), ("soft", &WHOLE_TEXT)], required: &["soft", "hard"], ..OBJECT };
const ULIMIT: Shape = Shape::Either(&[WHOLE_TEXT, Shape::Fields(&ULIMIT_FIELDS)]);
const ULIMIT_DICT: Dict = Dict { key: lower_case, open: true, value: &ULIMIT };
/// Limits by name.
pub const ULIMITS: Shape = Shape::Dict(&ULIMIT_DICT);

/// A mapping with extensions and no keys: the remaining fields of a table.
pub const OBJECT: Fields = Fields { keys: &[], required: &[], extensions: true, open: false };

/// True if a name is valid for a service, a network and the like.
pub fn is_name(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// True if the key is not empty.
pub fn not_empty(key: &str) -> bool {
    !key.is_empty()
}

fn lower_case(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase())
}
