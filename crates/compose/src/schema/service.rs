//! The form of a service.

use super::build::BUILD;
use super::deploy::{DEPLOY, DEVELOP, GPUS, HOOK, PRE_START_HOOK};
use super::resources::named;
use super::shapes::*;
use super::{Dict, Fields, Shape};

/// The keys of a service.
pub const SERVICE: Fields = Fields {
    keys: &[
        ("annotations", &LIST_OR_DICT),
        ("attach", &FLAG_TEXT),
        ("blkio_config", &Shape::Fields(&BLKIO)),
        ("build", &BUILD),
        ("cap_add", &UNIQUE_TEXTS),
        ("cap_drop", &UNIQUE_TEXTS),
        ("cgroup", &Shape::Enum(&["host", "private"])),
        ("cgroup_parent", &TEXT),
        ("command", &COMMAND),
        ("configs", &MOUNTED_FILES),
        (
            "container_name",
            &Shape::Matching(is_container_name, "a letter or digit, then letters, digits, `_`, `.`, `-`"),
        ),
        ("cpu_count", &Shape::Range(0, i64::MAX)),
        ("cpu_percent", &Shape::Range(0, 100)),
        ("cpu_period", &NUMBER_TEXT),
        ("cpu_quota", &NUMBER_TEXT),
        ("cpu_rt_period", &NUMBER_TEXT),
        ("cpu_rt_runtime", &NUMBER_TEXT),
        ("cpu_shares", &NUMBER_TEXT),
        ("cpus", &NUMBER_TEXT),
        ("cpuset", &TEXT),
        ("credential_spec", &Shape::Fields(&CREDENTIAL_SPEC)),
        ("depends_on", &Shape::Either(&[UNIQUE_TEXTS, Shape::Dict(&DEPENDENCIES)])),
        ("deploy", &DEPLOY),
        ("develop", &DEVELOP),
        ("device_cgroup_rules", &UNIQUE_TEXTS),
        ("devices", &Shape::List(&DEVICE, false)),
        ("dns", &TEXT_OR_TEXTS),
        ("dns_opt", &UNIQUE_TEXTS),
        ("dns_search", &TEXT_OR_TEXTS),
        ("domainname", &TEXT),
        ("entrypoint", &COMMAND),
        ("env_file", &Shape::Either(&[TEXT, Shape::List(&ENV_FILE, false)])),
        ("environment", &LIST_OR_DICT),
        ("expose", &Shape::List(&NUMBER_TEXT, true)),
        ("extends", &Shape::Either(&[TEXT, Shape::Fields(&EXTENDS)])),
        ("external_links", &UNIQUE_TEXTS),
        ("extra_hosts", &EXTRA_HOSTS),
        ("gpus", &GPUS),
        ("group_add", &Shape::List(&NUMBER_TEXT, true)),
        ("healthcheck", &Shape::Fields(&HEALTHCHECK)),
        ("hostname", &TEXT),
        ("image", &TEXT),
        ("init", &FLAG_TEXT),
        ("ipc", &TEXT),
        ("isolation", &TEXT),
        ("label_file", &Shape::Either(&[TEXT, TEXTS])),
        ("labels", &LIST_OR_DICT),
        ("links", &UNIQUE_TEXTS),
        ("logging", &Shape::Fields(&LOGGING)),
        ("mac_address", &TEXT),
        ("mem_limit", &NUMBER_TEXT),
        ("mem_reservation", &WHOLE_TEXT),
        ("mem_swappiness", &WHOLE_TEXT),
        ("memswap_limit", &NUMBER_TEXT),
        ("models", &Shape::Either(&[UNIQUE_TEXTS, Shape::Dict(&MODELS)])),
        ("network_mode", &TEXT),
        ("networks", &Shape::Either(&[UNIQUE_TEXTS, Shape::Dict(&NETWORKS)])),
        ("oom_kill_disable", &FLAG_TEXT),
        ("oom_score_adj", &Shape::Range(-1000, 1000)),
        ("pid", &TEXT_OR_NULL),
        ("pids_limit", &NUMBER_TEXT),
        ("platform", &TEXT),
        ("ports", &Shape::List(&Shape::Either(&[NUMBER_TEXT, Shape::Fields(&PORT)]), true)),
        ("post_start", &Shape::List(&Shape::Fields(&HOOK), false)),
        ("pre_start", &Shape::List(&Shape::Fields(&PRE_START_HOOK), false)),
        ("pre_stop", &Shape::List(&Shape::Fields(&HOOK), false)),
        ("privileged", &FLAG_TEXT),
        ("profiles", &UNIQUE_TEXTS),
        ("provider", &Shape::Fields(&PROVIDER)),
        ("pull_policy", &Shape::Matching(is_pull_policy, PULL_POLICIES)),
        ("pull_refresh_after", &TEXT),
        ("read_only", &FLAG_TEXT),
        ("restart", &TEXT),
        ("runtime", &TEXT),
        ("scale", &WHOLE_TEXT),
        ("secrets", &MOUNTED_FILES),
        ("security_opt", &UNIQUE_TEXTS),
        ("shm_size", &NUMBER_TEXT),
        ("stdin_open", &FLAG_TEXT),
        ("stop_grace_period", &TEXT),
        ("stop_signal", &TEXT),
        ("storage_opt", &Shape::Dict(&FREE)),
        ("sysctls", &LIST_OR_DICT),
        ("tmpfs", &TEXT_OR_TEXTS),
        ("tty", &FLAG_TEXT),
        ("ulimits", &ULIMITS),
        ("use_api_socket", &FLAG),
        ("user", &TEXT),
        ("userns_mode", &TEXT),
        ("uts", &TEXT),
        ("volumes", &Shape::List(&VOLUME, true)),
        ("volumes_from", &UNIQUE_TEXTS),
        ("working_dir", &TEXT),
    ],
    ..OBJECT
};

const FREE: Dict = Dict { key: not_empty, open: true, value: &Shape::Any };

const BLKIO_LIMIT: Fields = Fields { keys: &[("path", &TEXT), ("rate", &WHOLE_TEXT)], extensions: false, ..OBJECT };
const BLKIO_LIMITS: Shape = Shape::List(&Shape::Fields(&BLKIO_LIMIT), false);
const BLKIO_WEIGHT: Fields = Fields { keys: &[("path", &TEXT), ("weight", &WHOLE_TEXT)], extensions: false, ..OBJECT };
const BLKIO: Fields = Fields {
    keys: &[
        ("device_read_bps", &BLKIO_LIMITS),
        ("device_read_iops", &BLKIO_LIMITS),
        ("device_write_bps", &BLKIO_LIMITS),
        ("device_write_iops", &BLKIO_LIMITS),
        ("weight", &WHOLE_TEXT),
        ("weight_device", &Shape::List(&Shape::Fields(&BLKIO_WEIGHT), false)),
    ],
    extensions: false,
    ..OBJECT
};

const CREDENTIAL_SPEC: Fields = Fields { keys: &[("config", &TEXT), ("file", &TEXT), ("registry", &TEXT)], ..OBJECT };

const DEPENDENCIES: Dict = named(&Shape::Fields(&DEPENDENCY), false);
const CONDITIONS: &[&str] = &["service_started", "service_healthy", "service_completed_successfully"];
const DEPENDENCY: Fields = Fields {
    keys: &[("condition", &Shape::Enum(CONDITIONS)), ("required", &FLAG), ("restart", &FLAG_TEXT)],
    required: &["condition"],
    ..OBJECT
};

const DEVICE: Shape = Shape::Either(&[TEXT, Shape::Fields(&DEVICE_FIELDS)]);
const DEVICE_FIELDS: Fields =
    Fields { keys: &[("permissions", &TEXT), ("source", &TEXT), ("target", &TEXT)], required: &["source"], ..OBJECT };

const ENV_FILE: Shape = Shape::Either(&[TEXT, Shape::Fields(&ENV_FILE_FIELDS)]);
const ENV_FILE_FIELDS: Fields = Fields {
    keys: &[("format", &TEXT), ("path", &TEXT), ("required", &FLAG_TEXT)],
    required: &["path"],
    extensions: false,
    ..OBJECT
};

const EXTENDS: Fields =
    Fields { keys: &[("file", &TEXT), ("service", &TEXT)], required: &["service"], extensions: false, ..OBJECT };

const HEALTHCHECK: Fields = Fields {
    keys: &[
        ("disable", &FLAG_TEXT),
        ("interval", &TEXT),
        ("retries", &NUMBER_TEXT),
        ("start_interval", &TEXT),
        ("start_period", &TEXT),
        ("test", &Shape::Either(&[TEXT, TEXTS])),
        ("timeout", &TEXT),
    ],
    ..OBJECT
};

const LOG_OPTIONS: Dict = Dict { key: not_empty, open: true, value: &OPTION };
const LOGGING: Fields = Fields { keys: &[("driver", &TEXT), ("options", &Shape::Dict(&LOG_OPTIONS))], ..OBJECT };

const MODELS: Dict = named(&Shape::Either(&[Shape::Fields(&MODEL), NULL]), true);
const MODEL: Fields = Fields { keys: &[("endpoint_var", &TEXT), ("model_var", &TEXT)], ..OBJECT };

const NETWORKS: Dict = named(&Shape::Either(&[Shape::Fields(&NETWORK), NULL]), false);
const NETWORK: Fields = Fields {
    keys: &[
        ("aliases", &UNIQUE_TEXTS),
        ("driver_opts", &DRIVER_OPTS),
        ("gw_priority", &NUMBER),
        ("interface_name", &TEXT),
        ("ipv4_address", &TEXT),
        ("ipv6_address", &TEXT),
        ("link_local_ips", &UNIQUE_TEXTS),
        ("mac_address", &TEXT),
        ("priority", &NUMBER),
    ],
    ..OBJECT
};

const PORT: Fields = Fields {
    keys: &[
        ("app_protocol", &TEXT),
        ("host_ip", &TEXT),
        ("mode", &TEXT),
        ("name", &TEXT),
        ("protocol", &TEXT),
        ("published", &WHOLE_TEXT),
        ("target", &WHOLE_TEXT),
    ],
    ..OBJECT
};

const PROVIDER_OPTION: Shape = Shape::Either(&[PLAIN, Shape::List(&PLAIN, false)]);
const PROVIDER_OPTIONS: Dict = Dict { key: not_empty, open: true, value: &PROVIDER_OPTION };
const PROVIDER: Fields =
    Fields { keys: &[("options", &Shape::Dict(&PROVIDER_OPTIONS)), ("type", &TEXT)], required: &["type"], ..OBJECT };

const VOLUME: Shape = Shape::Either(&[TEXT, Shape::Fields(&VOLUME_FIELDS)]);
const VOLUME_FIELDS: Fields = Fields {
    keys: &[
        ("bind", &Shape::Fields(&BIND)),
        ("consistency", &TEXT),
        ("image", &Shape::Fields(&SUBPATH)),
        ("read_only", &FLAG_TEXT),
        ("source", &TEXT),
        ("target", &TEXT),
        ("tmpfs", &Shape::Fields(&TMPFS)),
        ("type", &Shape::Enum(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"])),
        ("volume", &Shape::Fields(&NAMED)),
    ],
    required: &["type"],
    ..OBJECT
};
const BIND: Fields = Fields {
    keys: &[
        ("create_host_path", &FLAG_TEXT),
        ("propagation", &TEXT),
        ("recursive", &Shape::Enum(&["enabled", "disabled", "writable", "readonly"])),
        ("selinux", &Shape::Enum(&["z", "Z"])),
    ],
    ..OBJECT
};
const SUBPATH: Fields = Fields { keys: &[("subpath", &TEXT)], ..OBJECT };
const TMPFS: Fields = Fields { keys: &[("mode", &NUMBER_TEXT), ("size", &Shape::Range(0, i64::MAX))], ..OBJECT };
const NAMED: Fields =
    Fields { keys: &[("labels", &LIST_OR_DICT), ("nocopy", &FLAG_TEXT), ("subpath", &TEXT)], ..OBJECT };

/// True if somewhere in the text a letter or digit is followed by a character that container names
/// allow, as in the reference schema.
fn is_container_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.as_bytes().windows(2).any(|pair| pair[0].is_ascii_alphanumeric() && inner(pair[1]))
}

const PULL_POLICIES: &str = "always, never, build, if_not_present, missing, refresh, daily, weekly or every_<duration>";

/// True if the text contains one of the policies.
fn is_pull_policy(text: &str) -> bool {
    const WORDS: [&str; 8] = ["always", "never", "build", "if_not_present", "missing", "refresh", "daily", "weekly"];
    if WORDS.iter().any(|word| text.contains(word)) {
        return true;
    }
    text.match_indices("every_").any(|(at, word)| {
        let rest = &text[at + word.len()..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && rest[digits..].starts_with(['w', 'd', 'h', 'm', 's'])
    })
}
