//! RUN: a command in the stage's rootfs.

mod device;
pub(super) mod mount;

use super::flags::{self, Kind};
use super::{Command, Diagnostic, Line, Stage, error};
use crate::go;
use crate::line::Heredoc;
use crate::op::{self, CopySource, MountKind, Network, Op, Security};
use crate::stage::Origin;
use crate::text;
use mount::Mount;
use std::time::Duration;

/// `RUN [flags] command`.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    command: Command,
    files: Vec<Heredoc>,
    pub(super) mounts: Vec<Mount>,
    network: Option<Network>,
    security: Security,
    devices: Vec<op::Device>,
    timeout: Option<Duration>,
    written: String,
}

/// Where an inline script with a `#!` line is mounted.
const PIPES: &str = "/dev/pipes/";

impl Run {
    pub(super) fn parse(line: &Line) -> Result<Run, Diagnostic> {
        let known = [
            ("mount", Kind::List),
            ("network", Kind::Text),
            ("security", Kind::Text),
            ("device", Kind::List),
            ("timeout", Kind::Text),
        ];
        let flags = flags::check(line, &known)?;
        let wrong = |what: &str, value: &str| error(line, "run-flag", format!("{what} {value:?} is not supported"));
        let network = match flags.text("network").as_deref() {
            None => None,
            Some("default") => Some(Network::Default),
            Some("none") => Some(Network::None),
            Some("host") => Some(Network::Host),
            Some(other) => return Err(wrong("network mode", other).help("use `default`, `none` or `host`")),
        };
        let security = match flags.text("security").as_deref() {
            None | Some("sandbox") => Security::Sandbox,
            Some("insecure") => Security::Insecure,
            Some(other) => return Err(wrong("security mode", other).help("use `sandbox` or `insecure`")),
        };
        let devices: Vec<op::Device> = flags.all("device").map(device::parse).collect::<Result<_, _>>()?;
        let timeout = |text: String| match go::duration(&text).map(u64::try_from) {
            Ok(Ok(nanos)) if nanos > 0 => Ok(Duration::from_nanos(nanos)),
            _ => Err(wrong("timeout", &text).help("write `--timeout=90s`, `--timeout=1h30m`")),
        };
        let timeout = flags.text("timeout").map(timeout).transpose()?;
        let mounts = flags.all("mount").map(Mount::parse).collect::<Result<_, _>>()?;
        let command = Command::of(line);
        if command.words.is_empty() && !line.json {
            // BuildKit runs an empty text; so does an empty script of a here-document.
            return Ok(Run {
                command,
                files: Vec::new(),
                mounts,
                network,
                security,
                devices,
                timeout,
                written: line.rest.clone(),
            });
        }
        Ok(Run {
            command,
            files: line.heredocs.clone(),
            mounts,
            network,
            security,
            devices,
            timeout,
            written: line.rest.clone(),
        })
    }

    pub(super) fn lower(&self, stage: &mut Stage<'_, '_>) -> Result<(), Diagnostic> {
        let (args, script) = self.args(stage);
        let history = format!("RUN {} # buildkit", stage.run_history(&args));
        let mut mounts = Vec::new();
        let mut inputs = Vec::new();
        // Inputs stand behind the rootfs, if there is one.
        let first = usize::from(stage.top().is_some());
        if let Some((name, data)) = script {
            let input = stage.inline_file(&name, data);
            mounts.push(op::Mount {
                target: PIPES.trim_end_matches('/').to_owned(),
                kind: MountKind::Bind { input: Some(first), source: "/".to_owned(), readonly: true },
            });
            inputs.push(input);
        }
        for mount in &self.mounts {
            let lowered = mount.lower(stage, &mut |vertex| {
                inputs.push(vertex);
                first + inputs.len() - 1
            })?;
            stage.keep_need(&lowered);
            mounts.push(lowered);
        }
        let mut env = stage.run_env();
        let socket = agents(&mut mounts);
        if !env.iter().any(|(name, _)| name == "SSH_AUTH_SOCK") {
            env.extend(socket.map(|path| ("SSH_AUTH_SOCK".to_owned(), path)));
        }
        let exec = op::Exec {
            platform: stage.platform(),
            base: None,
            args,
            env,
            proxy: stage.proxy(),
            cwd: stage.written_workdir(),
            user: stage.config().user.clone(),
            network: self.network.unwrap_or(stage.network()),
            security: self.security,
            devices: self.devices.clone(),
            timeout: self.timeout,
            hosts: stage.hosts(),
            hostname: stage.hostname(),
            mounts,
        };
        let name = format!("RUN {}", self.summary());
        let vertex = stage.push(&name, |base| Op::Exec(op::Exec { base, ..exec }), &inputs);
        stage.history(history, Some(vertex));
        Ok(())
    }

    /// The arguments, and an inline script that must be mounted for them.
    fn args(&self, stage: &Stage<'_, '_>) -> (Vec<String>, Option<(String, String)>) {
        let Some(first) = self.files.first().filter(|_| self.command.shell) else {
            return (self.command.resolve(stage), None);
        };
        let text = self.command.words.join(" ");
        if text::heredoc_word(&text).is_none() {
            // The shell reads the here-documents itself.
            let bodies: String = self.files.iter().map(|file| format!("\n{}{}", file.content, file.name)).collect();
            return (stage.with_shell(&(text + &bodies)), None);
        }
        let data = if first.chomp { text::chomped(&first.content) } else { first.content.clone() };
        if data.starts_with("#!") {
            return (stage.with_shell(&format!("{PIPES}{}", first.name)), Some((first.name.clone(), data)));
        }
        (stage.with_shell(&data), None)
    }

    /// The command for people; of a here-document its first line.
    fn summary(&self) -> String {
        match self.files.first() {
            Some(file) => {
                let body = file.content.trim();
                let first = body.lines().next().unwrap_or("");
                let more = if body.lines().count() > 1 { "..." } else { "" };
                format!("{} ({first}{more})", self.written)
            }
            None => self.written.clone(),
        }
    }
}

/// Gives ssh sockets their places: where the first is.
fn agents(mounts: &mut [op::Mount]) -> Option<String> {
    let sockets = mounts.iter_mut().filter(|mount| matches!(mount.kind, MountKind::Ssh { .. }));
    let mut first = None;
    for (at, mount) in sockets.enumerate() {
        if mount.target.is_empty() {
            mount.target = format!("/run/buildkit/ssh_agent.{at}");
        }
        first.get_or_insert_with(|| mount.target.clone());
    }
    first
}

impl Stage<'_, '_> {
    /// A vertex that holds one executable file at its root.
    fn inline_file(&mut self, name: &str, data: String) -> solver::VertexId {
        let sources = vec![CopySource::Inline { name: name.to_owned(), data: data.into_bytes() }];
        let copy = op::Copy {
            link: true,
            sources,
            dest: "/".to_owned(),
            mode: Some("0755".to_owned()),
            ..op::Copy::default()
        };
        self.push_internal(Op::Copy(copy), &[])
    }
}

/// A mount's source as a vertex that an exec can mount.
fn bind_input(stage: &mut Stage<'_, '_>, from: Option<&str>, source: &str) -> Result<solver::VertexId, Diagnostic> {
    let origin = from.map_or(Origin::Context, |from| Origin::Named(from.to_owned()));
    stage.mountable(&origin, source)
}
