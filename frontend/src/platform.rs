//! Platforms as `os/architecture[/variant]`, with the normalisation of containerd's `platforms` package.

use std::fmt;

/// Where an image runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// As Go names it: `amd64`, `arm64`, `arm`.
    pub architecture: String,
    /// `v7` of `arm/v7`; none when it is the usual one.
    pub variant: Option<String>,
}

impl Platform {
    /// The platform kiln itself runs on.
    pub fn host() -> Platform {
        Platform::normal("linux", std::env::consts::ARCH, None)
    }

    /// Reads `os/architecture[/variant]`, or an architecture or os alone.
    pub fn parse(text: &str) -> Result<Platform, String> {
        let bad = || format!("{text:?}: cannot parse platform specifier");
        let parts: Vec<&str> = text.split('/').collect();
        let valid = |part: &&str| {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            part.starts_with(word) && part.chars().all(|c| word(c) || ".-".contains(c))
        };
        if !parts.iter().all(valid) {
            return Err(bad());
        }
        match parts.as_slice() {
            ["local"] => Ok(Platform::host()),
            [os] if os.eq_ignore_ascii_case("linux") => Ok(Platform::host()),
            [architecture] if is_architecture(architecture) => Ok(Platform::normal("linux", architecture, None)),
            [os, architecture] => Ok(Platform::normal(os, architecture, None)),
            [os, architecture, variant] => Ok(Platform::normal(os, architecture, Some(variant))),
            _ => Err(bad()),
        }
    }

    pub(crate) fn normal(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let (architecture, variant) = (architecture.to_lowercase(), variant.map(str::to_lowercase));
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("i386" | "x86", _) => ("386", None),
            ("x86_64" | "x86-64" | "amd64", Some("v1") | None) => ("amd64", None),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", Some("8" | "v8") | None) => ("arm64", None),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", Some("7" | "") | None) => ("arm", Some("v7")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            ("powerpc64", _) => ("ppc64", None),
            ("powerpc64le", _) => ("ppc64le", None),
            (architecture, variant) => (architecture, variant),
        };
        Platform { os: os.to_lowercase(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// How well an image of `other` serves where this is asked for: the less the better; none if it does not run there.
    pub fn rank(&self, other: &Platform) -> Option<usize> {
        let other = Platform::normal(&other.os, &other.architecture, other.variant.as_deref());
        self.served_by().iter().position(|platform| *platform == other)
    }

    /// The platforms whose programs run on this one, the best first (containerd's `platforms.Only`).
    fn served_by(&self) -> Vec<Platform> {
        let of =
            |architecture: &str, variant: Option<String>| Platform::normal(&self.os, architecture, variant.as_deref());
        let number = |variant: &str| variant.strip_prefix('v').and_then(|number| number.parse::<u32>().ok());
        let below = |architecture: &'static str, top: u32, lowest: u32| {
            (lowest..top).rev().map(move |number| of(architecture, Some(format!("v{number}"))))
        };
        let variant = self.variant.as_deref().unwrap_or_default();
        let mut all = vec![self.clone()];
        match self.architecture.as_str() {
            "amd64" => {
                all.extend(below("amd64", number(variant).unwrap_or(1), 1));
                all.push(of("386", None));
            }
            "arm" => all.extend(below("arm", number(variant).unwrap_or(5), 5)),
            "arm64" => {
                all.extend((!variant.is_empty()).then(|| of("arm64", None)));
                all.extend(below("arm", 9, 5));
            }
            _ => {}
        }
        all
    }
}

fn is_architecture(text: &str) -> bool {
    let known = [
        "amd64", "x86_64", "x86-64", "arm64", "aarch64", "arm", "armhf", "armel", "386", "i386", "ppc64", "ppc64le",
        "s390x", "riscv64", "mips64", "mips64le", "loong64", "mips", "mipsle", "wasm",
    ];
    known.contains(&text.to_lowercase().as_str())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_containerd() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Platform::parse(text).map(|p| p.to_string()), Ok(expected.to_owned()))
        };
        check("linux/amd64", "linux/amd64");
        check("linux/x86_64", "linux/amd64");
        check("aarch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm", "linux/arm/v7");
        check("linux/arm/v6", "linux/arm/v6");
        assert!(Platform::parse("no/such/plat/form").is_err());
        assert!(Platform::parse("").is_err());
        assert!(Platform::parse("a/../b").is_err());
    }

    #[test]
    fn older_variants_serve_where_a_newer_one_is_asked_for() {
        let platform = |text: &str| Platform::parse(text).expect("a platform");
        let rank = |wanted: &str, other: &str| platform(wanted).rank(&platform(other));
        assert_eq!(rank("linux/amd64", "linux/x86_64"), Some(0));
        assert!(rank("linux/arm/v7", "linux/arm/v6") < rank("linux/arm/v7", "linux/arm/v5"));
        assert!(rank("linux/arm/v7", "linux/arm/v7") < rank("linux/arm/v7", "linux/arm/v6"));
        assert!(rank("linux/amd64/v3", "linux/amd64/v2") < rank("linux/amd64/v3", "linux/amd64"));
        assert!(rank("linux/arm64", "linux/arm/v7").is_some() && rank("linux/amd64", "linux/386").is_some());
        for (wanted, other) in [
            ("linux/arm/v6", "linux/arm/v7"),
            ("linux/amd64", "linux/amd64/v2"),
            ("linux/386", "linux/amd64"),
            ("linux/arm/v7", "linux/arm64"),
            ("linux/amd64", "windows/amd64"),
            ("linux/s390x", "linux/amd64"),
        ] {
            assert_eq!(rank(wanted, other), None, "{wanted} {other}");
        }
    }
}
