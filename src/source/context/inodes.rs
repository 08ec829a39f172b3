//! Numbers for groups of hard links: equal for the same inode, different for others, also on other
//! file systems.

use base::sync::lock;
use std::collections::HashMap;
use std::sync::Mutex;

/// Lower numbers are inodes on the device of the context itself; higher ones are assigned.
const GIVEN: u32 = 1 << 31;

/// The groups of one context.
pub(super) struct Inodes {
    device: u64,
    others: Mutex<HashMap<(u64, u64), u32>>,
}

impl Inodes {
    /// The groups of a context on this device.
    pub(super) fn on(device: u64) -> Inodes {
        Inodes { device, others: Mutex::default() }
    }

    /// The number of an inode.
    pub(super) fn group(&self, device: u64, inode: u64) -> u32 {
        match u32::try_from(inode) {
            Ok(number) if device == self.device && number < GIVEN => number,
            _ => {
                let mut others = lock(&self.others);
                let next = GIVEN.saturating_add(u32::try_from(others.len()).unwrap_or(u32::MAX));
                *others.entry((device, inode)).or_insert(next)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_on_other_file_systems_and_large_ones_are_other_groups() {
        let inodes = Inodes::on(7);
        let asked = [(7, 1), (7, 1 << 32 | 1), (8, 1), (7, (1 << 32) + (1 << 31)), (7, 1 << 31), (9, 1)];
        let numbers: std::collections::HashSet<u32> = asked.iter().map(|(dev, ino)| inodes.group(*dev, *ino)).collect();
        assert_eq!(numbers.len(), asked.len());
        assert!(asked.iter().all(|(dev, ino)| inodes.group(*dev, *ino) == inodes.group(*dev, *ino)));
    }
}
