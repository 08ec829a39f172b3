//! The macro that makes a struct, its reader and its printer from one table of keys.

/// Defines records. A row is `"key" field: Type mode`, where the mode says when the key is printed:
/// `omit` if it is not empty, `keep` always, `json` always in JSON and if not empty in YAML,
/// `capital` as `keep` with a capital letter in JSON, `hide` never.
macro_rules! record {
    ($($(#[$doc:meta])* $name:ident { $($key:literal $field:ident: $type:ty, $mode:ident;)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $(#[doc = concat!("The key `", $key, "`.")] pub $field: $type,)*
            /// Keys that begin with `x-`.
            pub extensions: $crate::node::Map,
        }

        impl $crate::model::decode::Decode for $name {
            fn decode(
                node: &$crate::node::Node,
                path: &$crate::path::Path<'_>,
            ) -> Result<$name, $crate::problem::Problem> {
                let Some(map) = node.as_map() else {
                    return Err($crate::model::decode::mismatch(node, path, "a mapping"));
                };
                let mut record = $name::default();
                for (key, entry) in map.iter() {
                    if entry.node.is_null() {
                        continue;
                    }
                    match key {
                        $($key => record.$field = $crate::model::decode::Decode::decode(&entry.node, &path.key(key))?,)*
                        key if key.starts_with("x-") => record.extensions.put(key, entry.clone()),
                        _ => {}
                    }
                }
                Ok(record)
            }
        }

        impl $crate::model::encode::Encode for $name {
            fn encode(&self, form: $crate::model::encode::Form) -> serde_json::Value {
                let mut out = serde_json::Map::new();
                $($crate::model::record::field!($mode, out, form, $key, &self.$field);)*
                $crate::model::encode::extensions(&mut out, &self.extensions, form);
                serde_json::Value::Object(out)
            }

            fn is_empty(&self) -> bool {
                $($crate::model::encode::Encode::is_empty(&self.$field) &&)* self.extensions.is_empty()
            }
        }
    )*};
}

macro_rules! field {
    (hide, $out:ident, $form:ident, $key:literal, $value:expr) => {};
    (omit, $out:ident, $form:ident, $key:literal, $value:expr) => {
        $crate::model::encode::put(&mut $out, $form, $key, $value, false);
    };
    (keep, $out:ident, $form:ident, $key:literal, $value:expr) => {
        $crate::model::encode::put(&mut $out, $form, $key, $value, true);
    };
    (json, $out:ident, $form:ident, $key:literal, $value:expr) => {
        $crate::model::encode::put(&mut $out, $form, $key, $value, $form == $crate::model::encode::Form::Json);
    };
    (capital, $out:ident, $form:ident, $key:literal, $value:expr) => {
        $crate::model::encode::put(&mut $out, $form, &$crate::model::encode::capital($key, $form), $value, true);
    };
}

pub(crate) use {field, record};
