//! Whether the machine is short of memory: pressure stall information (Documentation/accounting/psi.rst of the kernel), of
//! the control group that kiln is in where that has its own, else of the whole machine.

use std::fs::File;

/// Share of the last ten seconds, in percent, in which something waited for memory. Above it a further step would make
/// all of them slower: what runs already swaps, or reads again what was dropped a moment ago.
const TOO_MUCH: f64 = 10.0;
/// Of the kernel's text.
const LONGEST: u64 = 4096;
/// The first that is there counts. In a container's control group namespace the first is the container's.
const FILES: &[&str] = &["/sys/fs/cgroup/memory.pressure", "/proc/pressure/memory"];

/// Whether one more step should wait until there is more memory. Without the kernel's help: never.
pub fn is_high() -> bool {
    let file = FILES.iter().find_map(|path| File::open(path).ok());
    let bytes = file.and_then(|file| crate::read::at_most(LONGEST, file).ok().flatten()).unwrap_or_default();
    stalled(&String::from_utf8_lossy(&bytes)).is_some_and(|percent| percent > TOO_MUCH)
}

/// The percentage of the last ten seconds in which at least one process stood still.
fn stalled(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_read_and_another_is_nothing() {
        let text =
            "some avg10=12.50 avg60=3.00 avg300=0.12 total=32775574\nfull avg10=0.00 avg60=0.00 avg300=0.09 total=1\n";
        assert_eq!(stalled(text), Some(12.5));
        for bad in ["", "full avg10=50.00", "some avg60=1.0", "some avg10=lots"] {
            assert_eq!(stalled(bad), None, "{bad:?}");
        }
    }
}
