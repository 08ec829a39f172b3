//! How the image of a service is built.

use super::record::record;
use super::*;

record! {
    /// How the image of a service is built.
    Build {
        "context" context: String, omit;
        "dockerfile" dockerfile: String, omit;
        "dockerfile_inline" dockerfile_inline: String, omit;
        "entitlements" entitlements: Vec<String>, omit;
        "args" args: Variables, omit;
        "provenance" provenance: String, omit;
        "sbom" sbom: String, omit;
        "ssh" ssh: SshKeys, omit;
        "labels" labels: Mapping, omit;
        "cache_from" cache_from: Vec<String>, omit;
        "cache_to" cache_to: Vec<String>, omit;
        "no_cache" no_cache: bool, omit;
        "no_cache_filter" no_cache_filter: Vec<String>, omit;
        "additional_contexts" additional_contexts: Mapping, omit;
        "pull" pull: bool, omit;
        "extra_hosts" extra_hosts: Hosts, omit;
        "isolation" isolation: String, omit;
        "network" network: String, omit;
        "target" target: String, omit;
        "secrets" secrets: Vec<MountedFile>, omit;
        "shm_size" shm_size: Bytes, omit;
        "tags" tags: Vec<String>, omit;
        "ulimits" ulimits: Named<Ulimit>, omit;
        "platforms" platforms: Vec<String>, omit;
        "privileged" privileged: bool, omit;
    }
}
