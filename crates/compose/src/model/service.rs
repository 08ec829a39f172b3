//! A service.

use super::record::record;
use super::*;

record! {
    /// A service: the image, how its containers run, and what they are connected to.
    Service {
        "profiles" profiles: Vec<String>, omit;
        "annotations" annotations: Mapping, omit;
        "attach" attach: Option<bool>, omit;
        "build" build: Option<Box<Build>>, omit;
        "develop" develop: Option<Develop>, omit;
        "blkio_config" blkio_config: Option<BlkioConfig>, omit;
        "cap_add" cap_add: Vec<String>, omit;
        "cap_drop" cap_drop: Vec<String>, omit;
        "cgroup_parent" cgroup_parent: String, omit;
        "cgroup" cgroup: String, omit;
        "cpu_count" cpu_count: i64, omit;
        "cpu_percent" cpu_percent: f32, omit;
        "cpu_period" cpu_period: i64, omit;
        "cpu_quota" cpu_quota: i64, omit;
        "cpu_rt_period" cpu_rt_period: i64, omit;
        "cpu_rt_runtime" cpu_rt_runtime: i64, omit;
        "cpus" cpus: f32, omit;
        "cpuset" cpuset: String, omit;
        "cpu_shares" cpu_shares: i64, omit;
        "command" command: Command, json;
        "configs" configs: Vec<MountedFile>, omit;
        "container_name" container_name: String, omit;
        "credential_spec" credential_spec: Option<CredentialSpec>, omit;
        "depends_on" depends_on: Named<Dependency>, omit;
        "deploy" deploy: Option<Deploy>, omit;
        "device_cgroup_rules" device_cgroup_rules: Vec<String>, omit;
        "devices" devices: Vec<DeviceMapping>, omit;
        "dns" dns: Vec<String>, omit;
        "dns_opt" dns_opt: Vec<String>, omit;
        "dns_search" dns_search: Vec<String>, omit;
        "domainname" domainname: String, omit;
        "entrypoint" entrypoint: Command, json;
        "provider" provider: Option<Provider>, omit;
        "environment" environment: Variables, omit;
        "env_file" env_file: Vec<EnvFile>, omit;
        "expose" expose: Texts, omit;
        "extends" extends: Option<Extends>, omit;
        "external_links" external_links: Vec<String>, omit;
        "extra_hosts" extra_hosts: Hosts, omit;
        "group_add" group_add: Vec<String>, omit;
        "gpus" gpus: Vec<DeviceRequest>, omit;
        "hostname" hostname: String, omit;
        "healthcheck" healthcheck: Option<HealthCheck>, omit;
        "image" image: String, omit;
        "init" init: Option<bool>, omit;
        "ipc" ipc: String, omit;
        "isolation" isolation: String, omit;
        "labels" labels: Mapping, omit;
        "label_file" label_file: Vec<String>, omit;
        "links" links: Vec<String>, omit;
        "logging" logging: Option<Logging>, omit;
        "mem_limit" mem_limit: Bytes, omit;
        "mem_reservation" mem_reservation: Bytes, omit;
        "memswap_limit" memswap_limit: Bytes, omit;
        "mem_swappiness" mem_swappiness: Bytes, omit;
        "mac_address" mac_address: String, omit;
        "models" models: Named<Option<ServiceModel>>, omit;
        "network_mode" network_mode: String, omit;
        "networks" networks: Named<Option<Attachment>>, omit;
        "oom_kill_disable" oom_kill_disable: bool, omit;
        "oom_score_adj" oom_score_adj: i64, omit;
        "pid" pid: String, omit;
        "pids_limit" pids_limit: i64, omit;
        "platform" platform: String, omit;
        "ports" ports: Vec<Port>, omit;
        "privileged" privileged: bool, omit;
        "pull_policy" pull_policy: String, omit;
        "read_only" read_only: bool, omit;
        "restart" restart: String, omit;
        "runtime" runtime: String, omit;
        "scale" scale: Option<i64>, omit;
        "secrets" secrets: Vec<MountedFile>, omit;
        "security_opt" security_opt: Vec<String>, omit;
        "shm_size" shm_size: Bytes, omit;
        "stdin_open" stdin_open: bool, omit;
        "stop_grace_period" stop_grace_period: Option<Duration>, omit;
        "stop_signal" stop_signal: String, omit;
        "storage_opt" storage_opt: Named<String>, omit;
        "sysctls" sysctls: Mapping, omit;
        "tmpfs" tmpfs: Vec<String>, omit;
        "tty" tty: bool, omit;
        "ulimits" ulimits: Named<Ulimit>, omit;
        "use_api_socket" use_api_socket: bool, omit;
        "user" user: String, omit;
        "userns_mode" userns_mode: String, omit;
        "uts" uts: String, omit;
        "volumes" volumes: Vec<Mount>, omit;
        "volumes_from" volumes_from: Vec<String>, omit;
        "working_dir" working_dir: String, omit;
        "pre_start" pre_start: Vec<Hook>, omit;
        "post_start" post_start: Vec<Hook>, omit;
        "pre_stop" pre_stop: Vec<Hook>, omit;
    }

    /// Another service that runs before this one.
    Dependency {
        "condition" condition: String, omit;
        "restart" restart: bool, omit;
        "required" required: bool, keep;
    }

    /// A file of variables.
    EnvFile {
        "path" path: String, omit;
        "required" required: OptOut, omit;
        "format" format: String, omit;
    }

    /// The service that another one extends.
    Extends {
        "file" file: String, omit;
        "service" service: String, omit;
    }

    /// How the health of a container is tested.
    HealthCheck {
        "test" test: HealthTest, omit;
        "timeout" timeout: Option<Duration>, omit;
        "interval" interval: Option<Duration>, omit;
        "retries" retries: Option<u64>, omit;
        "start_period" start_period: Option<Duration>, omit;
        "start_interval" start_interval: Option<Duration>, omit;
        "disable" disable: bool, omit;
    }

    /// Where the output of a container goes.
    Logging {
        "driver" driver: String, omit;
        "options" options: Mapping, omit;
    }

    /// A published port.
    Port {
        "name" name: String, omit;
        "mode" mode: String, omit;
        "host_ip" host_ip: String, omit;
        "target" target: u32, omit;
        "published" published: String, omit;
        "protocol" protocol: String, omit;
        "app_protocol" app_protocol: String, omit;
    }

    /// How a service is attached to a network.
    Attachment {
        "aliases" aliases: Vec<String>, omit;
        "driver_opts" driver_opts: Mapping, omit;
        "gw_priority" gw_priority: i64, omit;
        "interface_name" interface_name: String, omit;
        "ipv4_address" ipv4_address: String, omit;
        "ipv6_address" ipv6_address: String, omit;
        "link_local_ips" link_local_ips: Vec<String>, omit;
        "mac_address" mac_address: String, omit;
        "priority" priority: i64, omit;
    }

    /// The variables that describe a model to a service.
    ServiceModel {
        "endpoint_var" endpoint_var: String, omit;
        "model_var" model_var: String, omit;
    }

    /// A program outside of kiln that runs the service.
    Provider {
        "type" kind: String, omit;
        "options" options: MultiOptions, omit;
    }

    /// A command that runs at a point in the life of a container.
    Hook {
        "command" command: Command, json;
        "image" image: String, omit;
        "user" user: String, omit;
        "privileged" privileged: bool, omit;
        "working_dir" working_dir: String, omit;
        "environment" environment: Variables, omit;
        "per_replica" per_replica: bool, omit;
    }

    /// A credential of Windows.
    CredentialSpec {
        "config" config: String, omit;
        "file" file: String, omit;
        "registry" registry: String, omit;
    }
}
