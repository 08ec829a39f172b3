//! The resources that services share: networks, volumes, secrets, configs and models.

use super::record::record;
use super::*;

record! {
    /// A network.
    Network {
        "name" name: String, omit;
        "driver" driver: String, omit;
        "driver_opts" driver_opts: Mapping, omit;
        "ipam" ipam: Ipam, json;
        "external" external: bool, omit;
        "internal" internal: bool, omit;
        "attachable" attachable: bool, omit;
        "labels" labels: Mapping, omit;
        "enable_ipv4" enable_ipv4: Option<bool>, omit;
        "enable_ipv6" enable_ipv6: Option<bool>, omit;
    }

    /// How the addresses of a network are assigned.
    Ipam {
        "driver" driver: String, omit;
        "config" config: Vec<IpamPool>, omit;
        "options" options: Mapping, omit;
    }

    /// A range of addresses.
    IpamPool {
        "subnet" subnet: String, omit;
        "gateway" gateway: String, omit;
        "ip_range" ip_range: String, omit;
        "aux_addresses" aux_addresses: Mapping, omit;
    }

    /// A volume.
    Volume {
        "name" name: String, omit;
        "driver" driver: String, omit;
        "driver_opts" driver_opts: Mapping, omit;
        "external" external: bool, omit;
        "labels" labels: Mapping, omit;
    }

    /// A secret. Its content is never printed.
    Secret {
        "name" name: String, omit;
        "file" file: String, omit;
        "environment" environment: String, omit;
        "external" external: bool, omit;
        "labels" labels: Mapping, omit;
        "driver" driver: String, omit;
        "driver_opts" driver_opts: Named<String>, omit;
        "template_driver" template_driver: String, omit;
    }

    /// A config.
    Config {
        "name" name: String, omit;
        "file" file: String, omit;
        "environment" environment: String, omit;
        "content" content: String, omit;
        "external" external: bool, omit;
        "labels" labels: Mapping, omit;
        "template_driver" template_driver: String, omit;
    }

    /// A language model that services use.
    Model {
        "name" name: String, omit;
        "model" model: String, omit;
        "context_size" context_size: i64, omit;
        "runtime_flags" runtime_flags: Vec<String>, omit;
    }
}
