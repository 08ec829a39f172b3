//! The operand of `kiln build`: a directory; a git repository; the URL of a tarball or of a
//! Dockerfile; or `-` for a Dockerfile or a tar on standard input, which the first bytes tell
//! apart, as in docker.

use super::args;
use crate::request::fetch::{PendingContext, head, is_archive};
use crate::source::context;
use base::error::{Error, Kind, Result};
use base::read;
use frontend::remote::{self, Remote, redacted};
use std::io::{Cursor, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// The Dockerfile and the context named by the operand and `--file`.
#[derive(Debug, Default)]
pub struct Inputs {
    pub(super) dockerfile: Vec<u8>,
    pub(super) dockerfile_path: Option<PathBuf>,
    pub(super) context: Option<PathBuf>,
    pub(super) pending: Option<PendingContext>,
}

/// The name of standard input in errors.
const STDIN: &str = "standard input";

fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}

/// Reads the Dockerfile if it is on this machine.
pub(super) fn inputs(args: &args::Build) -> Result<Inputs> {
    let file = args.file.as_deref();
    if args.context == "-" {
        if file == Some("-") {
            return Err(usage("the context and the Dockerfile can't both come from standard input"));
        }
        let head = head(std::io::stdin(), STDIN)?;
        if is_archive(&head) {
            let dockerfile_path = file.map(PathBuf::from);
            return Ok(Inputs { dockerfile_path, pending: Some(PendingContext::Archive(head)), ..Inputs::default() });
        }
        if file.is_some() {
            return Err(usage("with a Dockerfile on standard input there is no --file")
                .hint("give a tar on standard input, or a directory"));
        }
        let dockerfile = read::text(Cursor::new(head).chain(std::io::stdin()), STDIN)?;
        return Ok(Inputs { dockerfile, ..Inputs::default() });
    }
    if let Some(remote) = named(&args.context)? {
        let mut inputs = Inputs { pending: Some(PendingContext::Remote(remote)), ..Inputs::default() };
        match file {
            Some("-") => inputs.dockerfile = read::text(std::io::stdin(), STDIN)?,
            file => inputs.dockerfile_path = file.map(PathBuf::from),
        }
        return Ok(inputs);
    }
    let context = PathBuf::from(&args.context);
    if file == Some("-") {
        let dockerfile = read::text(std::io::stdin(), STDIN)?;
        return Ok(Inputs { dockerfile, context: Some(context), ..Inputs::default() });
    }
    let path = file.map_or_else(|| context.join("Dockerfile"), PathBuf::from);
    if !path.exists() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(usage(format!("there is no Dockerfile `{}`", path.display()))
            .hint(format!("make a file `{name}`, or name another with -f")));
    }
    // A pipe that the user names has a writer. A pipe in a context may have none, and reading it
    // would hang.
    let dockerfile = match file {
        Some(_) => context::read_text(&path)?,
        None => read::text(read::open_regular(&path).map_err(|cause| unreadable(&path, cause))?, &path)?,
    };
    Ok(Inputs { dockerfile, dockerfile_path: Some(path), context: Some(context), pending: None })
}

/// The error of a default Dockerfile that can't be read.
fn unreadable(path: &Path, cause: std::io::Error) -> Error {
    let text = match cause.kind() {
        ErrorKind::InvalidInput | ErrorKind::IsADirectory => format!("`{}` is no regular file", path.display()),
        _ => format!("cannot read `{}`", path.display()),
    };
    usage(text).because(cause).hint("name another Dockerfile with -f")
}

/// The repository or URL that a text names, if it is one.
pub(super) fn named(text: &str) -> Result<Option<Remote>> {
    // Docker also takes this for a repository, unless there is such a directory.
    let whole = match text.strip_prefix("github.com/") {
        Some(_) if !Path::new(text).exists() => {
            let (path, rest) = text.find(['#', '?']).map_or((text, ""), |at| text.split_at(at));
            format!("https://{}.git{rest}", path.trim_end_matches(".git"))
        }
        _ => text.to_owned(),
    };
    match remote::git(&whole).map_err(|cause| usage(format!("{}: {cause}", redacted(text))))? {
        Some(git) => Ok(Some(Remote::Git(git))),
        None => match remote::http(&whole) {
            Some(http) => Ok(Some(Remote::Http(http))),
            None if whole.contains("://") => Err(usage(format!("`{}`: unknown protocol", redacted(text)))
                .hint("known are http, https, git, ssh; a directory needs no protocol")),
            None => Ok(None),
        },
    }
}
