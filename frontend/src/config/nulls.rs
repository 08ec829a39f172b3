//! `null` in the config of an image. Builders in Go write it for empty lists and maps, and read it as an empty value wherever
//! it stands; the types of this crate take no `null`.

use serde_json::{Map, Value};

/// Fields that map names to nothing; every other object is a structure.
const SETS: [&str; 2] = ["ExposedPorts", "Volumes"];

/// Replaces every `null` in a config by the empty value that Go reads.
pub(super) fn replace(config: &mut Value) {
    let Some(top) = config.as_object_mut() else { return };
    if let Some(history) = top.get_mut("history").and_then(Value::as_array_mut) {
        history.iter_mut().filter(|entry| entry.is_null()).for_each(|entry| *entry = Value::Object(Map::new()));
        history.iter_mut().filter_map(Value::as_object_mut).for_each(fields);
    }
    fields(top);
    for name in ["config", "rootfs"] {
        top.get_mut(name).and_then(Value::as_object_mut).into_iter().for_each(fields);
    }
    let Some(run) = top.get_mut("config").and_then(Value::as_object_mut) else { return };
    for (name, value) in run.iter_mut() {
        match value {
            Value::Object(map) if SETS.contains(&name.as_str()) => values(map, &Value::Object(Map::new())),
            Value::Object(map) if name == "Labels" => values(map, &Value::String(String::new())),
            Value::Object(map) => fields(map),
            _ => {}
        }
    }
}

/// A field of a structure that is `null` is one that is missing. In a list of texts it is the empty one.
fn fields(structure: &mut Map<String, Value>) {
    structure.retain(|_, value| !value.is_null());
    for list in structure.values_mut().filter_map(Value::as_array_mut) {
        if !list.iter().any(Value::is_object) {
            list.iter_mut().filter(|text| text.is_null()).for_each(|text| *text = Value::String(String::new()));
        }
    }
}

fn values(map: &mut Map<String, Value>, empty: &Value) {
    map.values_mut().filter(|value| value.is_null()).for_each(|value| *value = empty.clone());
}

#[cfg(test)]
mod tests {
    use crate::config::ImageConfig;
    use serde_json::json;

    /// Every field of a full config, and every entry of its lists and maps, one at a time.
    #[test]
    fn null_may_stand_anywhere_in_a_config() {
        let full = json!({
            "created": "2020-01-01T00:00:00Z", "author": "a", "architecture": "arm64", "variant": "v8", "os": "linux",
            "config": {
                "User": "u", "ExposedPorts": {"80/tcp": {}}, "Env": ["A=b", "C=d"], "Entrypoint": ["e"], "Cmd": ["c"],
                "Volumes": {"/v": {}}, "WorkingDir": "/w", "Labels": {"l": "m"}, "StopSignal": "INT",
                "ArgsEscaped": true, "OnBuild": ["RUN x"], "Shell": ["sh"], "StopTimeout": 3,
                "Healthcheck": {
                    "Test": ["NONE"], "Interval": 1, "Timeout": 1, "StartPeriod": 1, "StartInterval": 1, "Retries": 1
                }
            },
            "rootfs": {"type": "layers", "diff_ids": ["sha256:0"]},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "x", "author": "a", "comment": "c", "empty_layer": true}]
        });
        let mut places = Vec::new();
        collect(&full, String::new(), &mut places);
        assert!(places.len() > 40, "{places:?}");
        for place in places {
            let mut config = full.clone();
            *config.pointer_mut(&place).expect("a place in it") = json!(null);
            let read = ImageConfig::read(config.to_string().as_bytes());
            assert!(read.is_ok(), "{place}: {read:?}");
        }
    }

    fn collect(value: &serde_json::Value, path: String, places: &mut Vec<String>) {
        let mut add = |name: &str, value| {
            let place = format!("{path}/{}", name.replace('/', "~1"));
            places.push(place.clone());
            collect(value, place, places);
        };
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(name, value)| add(name, value)),
            serde_json::Value::Array(list) => {
                list.iter().enumerate().for_each(|(at, value)| add(&at.to_string(), value));
            }
            _ => {}
        }
    }

    #[test]
    fn a_port_without_details_is_still_a_port() {
        let config =
            ImageConfig::read(br#"{"config":{"ExposedPorts":{"80/tcp":null},"Labels":{"a":null},"Env":null}}"#)
                .expect("a config");
        assert!(config.config.exposed_ports.expect("ports").contains_key("80/tcp"));
        assert_eq!(config.config.labels.expect("labels").get("a").map(String::as_str), Some(""));
        assert_eq!(config.config.env, None);
    }
}
