//! `deploy` and `develop`: replicas, limits, restarts, and what happens while files change.

use super::record::record;
use super::*;

record! {
    /// The number of containers of a service, and their resources.
    Deploy {
        "mode" mode: String, omit;
        "replicas" replicas: Option<i64>, omit;
        "labels" labels: Mapping, omit;
        "update_config" update_config: Option<UpdateConfig>, omit;
        "rollback_config" rollback_config: Option<UpdateConfig>, omit;
        "resources" resources: Resources, json;
        "restart_policy" restart_policy: Option<RestartPolicy>, omit;
        "placement" placement: Placement, json;
        "endpoint_mode" endpoint_mode: String, omit;
    }

    /// How containers are replaced.
    UpdateConfig {
        "parallelism" parallelism: Option<u64>, omit;
        "delay" delay: Duration, omit;
        "failure_action" failure_action: String, omit;
        "monitor" monitor: Duration, omit;
        "max_failure_ratio" max_failure_ratio: f32, omit;
        "order" order: String, omit;
    }

    /// Limits and reservations.
    Resources {
        "limits" limits: Option<Resource>, omit;
        "reservations" reservations: Option<Resource>, omit;
    }

    /// Amounts of a machine's resources.
    Resource {
        "cpus" cpus: f32, omit;
        "memory" memory: Bytes, omit;
        "pids" pids: i64, omit;
        "devices" devices: Vec<DeviceRequest>, omit;
        "generic_resources" generic_resources: Vec<GenericResource>, omit;
    }

    /// Devices that a service requests.
    DeviceRequest {
        "capabilities" capabilities: Vec<String>, omit;
        "driver" driver: String, omit;
        "count" count: DeviceCount, omit;
        "device_ids" device_ids: Vec<String>, omit;
        "options" options: Mapping, omit;
    }

    /// A resource that its user defines.
    GenericResource {
        "discrete_resource_spec" discrete_resource_spec: Option<DiscreteResource>, omit;
    }

    /// A resource that is counted.
    DiscreteResource {
        "kind" kind: String, keep;
        "value" value: i64, keep;
    }

    /// When containers are restarted.
    RestartPolicy {
        "condition" condition: String, omit;
        "delay" delay: Option<Duration>, omit;
        "max_attempts" max_attempts: Option<u64>, omit;
        "window" window: Option<Duration>, omit;
    }

    /// The machines that containers may run on.
    Placement {
        "constraints" constraints: Vec<String>, omit;
        "preferences" preferences: Vec<PlacementPreference>, omit;
        "max_replicas_per_node" max_replicas_per_node: u64, omit;
    }

    /// How containers are spread over machines.
    PlacementPreference {
        "spread" spread: String, omit;
    }

    /// The actions that run when files change.
    Develop {
        "watch" watch: Vec<Trigger>, omit;
    }

    /// A path that is watched.
    Trigger {
        "path" path: String, keep;
        "action" action: String, keep;
        "target" target: String, omit;
        "exec" exec: Hook, json;
        "include" include: Vec<String>, omit;
        "ignore" ignore: Vec<String>, omit;
        "initial_sync" initial_sync: bool, omit;
    }
}
