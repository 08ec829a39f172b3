//! The bytes by which the kernel recognizes a program's architecture: the first 20 of its ELF
//! header (elf(5)).

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// One architecture.
#[derive(Debug)]
pub(super) struct Format {
    /// The name that Go and OCI images use.
    pub(super) architecture: &'static str,
    /// The name that qemu uses.
    pub(super) qemu: &'static str,
    bits64: bool,
    big_endian: bool,
    machine: u16,
}

const fn format(
    architecture: &'static str,
    qemu: &'static str,
    bits64: bool,
    big_endian: bool,
    machine: u16,
) -> Format {
    Format { architecture, qemu, bits64, big_endian, machine }
}

/// Machine numbers are those of elf.h.
pub(super) const FORMATS: &[Format] = &[
    format("amd64", "x86_64", true, false, 62),
    format("386", "i386", false, false, 3),
    format("arm64", "aarch64", true, false, 183),
    format("arm", "arm", false, false, 40),
    format("riscv64", "riscv64", true, false, 243),
    format("ppc64le", "ppc64le", true, false, 21),
    format("s390x", "s390x", true, true, 22),
    format("loong64", "loongarch64", true, false, 258),
    format("mips64le", "mips64el", true, false, 8),
    format("mips64", "mips64", true, true, 8),
    format("mipsle", "mipsel", false, false, 8),
    format("mips", "mips", false, true, 8),
];

pub(super) fn of(architecture: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.architecture == architecture)
}

impl Format {
    /// The magic and the mask: class, byte order, version, type and machine. The type is
    /// executable; the mask lets shared objects pass, because static programs may have that type
    /// too.
    fn magic(&self) -> ([u8; 20], [u8; 20]) {
        let mut magic = [0; 20];
        magic[..4].copy_from_slice(b"\x7fELF");
        magic[4] = 1 + u8::from(self.bits64);
        magic[5] = 1 + u8::from(self.big_endian);
        magic[6] = 1;
        let mut mask = [0xff; 20];
        // Any OS ABI matches.
        mask[7] = 0;
        let (kind, machine) =
            if self.big_endian { (17, self.machine.to_be_bytes()) } else { (16, self.machine.to_le_bytes()) };
        magic[kind] = 2;
        mask[kind] = 0xfe;
        magic[18..].copy_from_slice(&machine);
        (magic, mask)
    }

    /// The rule to write to `register`. The emulator is opened at once (F), gets the program's own
    /// name (P) and runs with the credentials of a set-user-ID program (C, which implies O).
    pub(super) fn rule(&self, program: &Path) -> Vec<u8> {
        let hex = |bytes: [u8; 20]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let (magic, mask) = self.magic();
        let head = format!(":qemu-{}:M::{}:{}:", self.qemu, hex(magic), hex(mask));
        [head.as_bytes(), program.as_os_str().as_bytes(), b":POCF"].concat()
    }

    /// True if this entry of binfmt_misc is enabled for this format, with an interpreter that need
    /// not be in the image.
    pub(super) fn is_served_by(&self, text: &str) -> bool {
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
        let (magic, mask) = self.magic();
        let plain: String = magic.iter().zip(mask).map(|(byte, mask)| format!("{:02x}", byte & mask)).collect();
        let theirs = field("magic ");
        let same = theirs.len() == plain.len()
            && theirs.is_ascii()
            && theirs[..14] == plain[..14]
            && theirs[36..] == plain[36..];
        text.lines().next() == Some("enabled") && field("flags:").contains('F') && field("offset ") == "0" && same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_those_of_qemus_own_script() {
        let arm64 = of("arm64").expect("known");
        let rule = String::from_utf8(arm64.rule(Path::new("/usr/bin/qemu-aarch64-static"))).expect("text");
        let magic = r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
        let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
        assert_eq!(rule, format!(":qemu-aarch64:M::{magic}:{mask}:/usr/bin/qemu-aarch64-static:POCF"));
        assert!(of("s390x").expect("known").magic().0.ends_with(&[0, 2, 0, 22]));
    }

    #[test]
    fn what_the_machine_registered_counts_only_when_it_works_in_an_image() {
        let magic = "7f454c460201010000000000000000000200b700";
        let entry = |head: &str, flags: &str, magic: &str| {
            format!("{head}\ninterpreter /usr/bin/qemu-aarch64\nflags: {flags}\noffset 0\nmagic {magic}\nmask ffff\n")
        };
        let arm64 = of("arm64").expect("known");
        assert!(arm64.is_served_by(&entry("enabled", "OCF", magic)));
        assert!(!arm64.is_served_by(&entry("disabled", "OCF", magic)));
        assert!(!arm64.is_served_by(&entry("enabled", "OC", magic)));
        assert!(!of("arm").expect("known").is_served_by(&entry("enabled", "F", magic)));
        assert!(!arm64.is_served_by("") && !arm64.is_served_by("enabled\nflags: F\noffset 0\nmagic é\n"));
    }
}
