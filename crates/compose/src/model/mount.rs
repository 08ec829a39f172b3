//! The mounts of containers: volumes, files and devices. Also the limits of block devices.

use super::record::record;
use super::*;

record! {
    /// A mount.
    Mount {
        "type" kind: String, omit;
        "source" source: String, omit;
        "target" target: String, omit;
        "read_only" read_only: bool, omit;
        "consistency" consistency: String, omit;
        "bind" bind: Option<BindOptions>, omit;
        "volume" volume: Option<VolumeOptions>, omit;
        "tmpfs" tmpfs: Option<TmpfsOptions>, omit;
        "image" image: Option<ImageOptions>, omit;
    }

    /// Options of a bind mount.
    BindOptions {
        "selinux" selinux: String, omit;
        "propagation" propagation: String, omit;
        "create_host_path" create_host_path: OptOut, omit;
        "recursive" recursive: String, omit;
    }

    /// Options of a volume.
    VolumeOptions {
        "labels" labels: Mapping, omit;
        "nocopy" nocopy: bool, omit;
        "subpath" subpath: String, omit;
    }

    /// Options of a tmpfs.
    TmpfsOptions {
        "size" size: Bytes, omit;
        "mode" mode: u32, omit;
    }

    /// Options of an image that is mounted.
    ImageOptions {
        "subpath" subpath: String, omit;
    }

    /// A secret or config in a container.
    MountedFile {
        "source" source: String, omit;
        "target" target: String, omit;
        "uid" uid: String, omit;
        "gid" gid: String, omit;
        "mode" mode: Option<FileMode>, omit;
    }

    /// A device of the host.
    DeviceMapping {
        "source" source: String, omit;
        "target" target: String, omit;
        "permissions" permissions: String, omit;
    }

    /// Limits of block devices.
    BlkioConfig {
        "weight" weight: u16, omit;
        "weight_device" weight_device: Vec<WeightDevice>, omit;
        "device_read_bps" device_read_bps: Vec<ThrottleDevice>, omit;
        "device_read_iops" device_read_iops: Vec<ThrottleDevice>, omit;
        "device_write_bps" device_write_bps: Vec<ThrottleDevice>, omit;
        "device_write_iops" device_write_iops: Vec<ThrottleDevice>, omit;
    }

    /// The weight of a device.
    WeightDevice {
        "path" path: String, capital;
        "weight" weight: u16, capital;
    }

    /// The limit of a device.
    ThrottleDevice {
        "path" path: String, capital;
        "rate" rate: Bytes, capital;
    }
}
