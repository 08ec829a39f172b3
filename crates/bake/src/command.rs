//! The command `bake`, up to the building: flags to text or to a plan.

use crate::allow::Allowed;
use crate::checks::check;
use crate::compose::{self, Surroundings};
use crate::csv;
use crate::definition::{Config, Evaluated, Inputs, evaluate};
use crate::entry::{Entry, Policy, canonical_attest};
use crate::host::Host;
use crate::list;
use crate::problem::{Problem, Source};
use crate::selection::{Overrides, Selection, select};
use crate::syntax;
use crate::target::{group_json, target_json};
use base::words::bool_of;
use frontend::platform::Platform;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// Flags of the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Targets, groups and patterns.
    pub targets: Vec<String>,
    /// `--set`
    pub set: Vec<String>,
    /// `--var`
    pub vars: Vec<String>,
    /// `--allow`
    pub allow: Vec<String>,
    /// `--policy`
    pub policy: Vec<String>,
    /// `--sbom`
    pub sbom: Option<String>,
    /// `--provenance`
    pub provenance: Option<String>,
    /// `--push`
    pub push: bool,
    /// `--load`
    pub load: bool,
    /// `--call`
    pub call: Option<String>,
    /// `--no-cache`
    pub no_cache: Option<bool>,
    /// `--pull`
    pub pull: Option<bool>,
    /// `--print`
    pub print: bool,
    /// `--list`
    pub list: Option<String>,
    /// `BAKE_CMD_CONTEXT`, where it is not the working folder.
    pub context: Option<String>,
    /// The address of the tree that the definition is from, if it is not the working folder.
    pub url: Option<String>,
}

/// How a build is evaluated other than by building.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `lint`, `outline`, `targets`, …
    pub name: String,
    /// `json`, or empty.
    pub format: String,
    /// Findings do not change the exit code.
    pub ignore_status: bool,
}

impl Call {
    /// Reads `check,format=json`; building is no call.
    pub fn parse(text: &str) -> Result<Option<Call>, String> {
        let mut made = Call { name: String::new(), format: String::new(), ignore_status: false };
        if text.is_empty() {
            return Ok(None);
        }
        for field in csv::fields(text, ',')? {
            match field.split_once('=') {
                Some(("format", value)) => made.format = value.into(),
                Some(("ignorestatus", value)) => {
                    made.ignore_status =
                        bool_of(value).ok_or_else(|| format!("invalid ignorestatus print value: {value}"))?;
                }
                Some(_) => return Err(format!("invalid print field: {field}")),
                None if made.name.is_empty() => made.name = field,
                None => return Err(format!("invalid print value: {text}")),
            }
        }
        if made.name == "check" {
            made.name = "lint".into();
        }
        Ok(Some(made).filter(|call| call.name != "build"))
    }
}

/// The result of the command.
pub enum Outcome {
    /// Text for standard output.
    Text(String),
    /// Targets to build.
    Build(Box<Plan>),
}

/// Targets to build.
pub struct Plan {
    /// Targets and groups.
    pub selection: Selection,
    /// Their grants.
    pub allowed: Allowed,
    /// `--call`
    pub call: Option<Call>,
}

/// An outcome and findings that are no errors.
pub struct Run {
    /// The outcome.
    pub outcome: Result<Outcome, Problem>,
    /// Warnings.
    pub warnings: Vec<Problem>,
}

/// Runs the command on files that were read.
pub fn run(flags: &Flags, sources: &[Source], host: &dyn Host) -> Run {
    let mut warnings = Vec::new();
    let outcome = outcome(flags, sources, host, &mut warnings);
    Run { outcome, warnings }
}

/// Checks flags that make no sense together, before files are read.
pub fn check_flags(flags: &Flags) -> Result<(), Problem> {
    if flags.print && flags.list.is_some() {
        return Err(Problem::plain("--print and --list are mutually exclusive"));
    }
    if let Some(text) = &flags.list {
        list::parse(text).map_err(Problem::plain)?;
    }
    Ok(())
}

/// True where the environment may set variables.
pub fn environment_allowed(host: &dyn Host) -> bool {
    let disabled = host.variable("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP");
    disabled.is_none_or(|text| bool_of(&text) != Some(true))
}

fn outcome(
    flags: &Flags,
    sources: &[Source],
    host: &dyn Host,
    warnings: &mut Vec<Problem>,
) -> Result<Outcome, Problem> {
    check_flags(flags)?;
    let call = flags.call.as_deref().map_or(Ok(None), Call::parse).map_err(Problem::plain)?;
    let (mut set, no_policy) = overrides(flags, call.as_ref())?;
    let mut allowed = Allowed::parse(&flags.allow).map_err(Problem::plain)?;
    if sources.is_empty() {
        let help = format!("none of these is here: {}; name one with -f", default_files().join(", "));
        return Err(Problem::plain("couldn't find a bake definition").help(help));
    }
    let vars = variables(&flags.vars)?;
    let relative = relative_paths(host)?;
    let (config, evaluated) = read(sources, host, &vars, flags.context.as_deref(), relative)?;
    warnings.extend(evaluated.warnings.iter().cloned());
    if let Some(text) = &flags.list {
        let wanted = list::parse(text).map_err(Problem::plain)?;
        return Ok(Outcome::Text(list::show(&wanted, &config, &evaluated.variables)));
    }
    let environment = environment_allowed(host);
    let overrides = Overrides::read(&std::mem::take(&mut set), &config, host, environment)?;
    warnings.extend(overrides.warnings.iter().cloned());
    let default = ["default".to_owned()];
    let names: &[String] = if flags.targets.is_empty() { &default } else { &flags.targets };
    let mut selection = select(&config, names, &overrides, &mut allowed)?;
    let epoch = host.variable("SOURCE_DATE_EPOCH").filter(|epoch| !epoch.is_empty());
    for target in selection.targets.values_mut() {
        if no_policy {
            target.policy = Some(vec![Policy { disabled: true, ..Policy::default() }]);
        }
        if let Some(epoch) = &epoch {
            target.args.entry("SOURCE_DATE_EPOCH".into()).or_insert_with(|| Some(epoch.clone()));
        }
        if let Some(url) = &flags.url {
            target.place_in(url);
        }
        check(target, host)?;
    }
    if flags.print {
        return Ok(Outcome::Text(print(&selection)));
    }
    Ok(Outcome::Build(Box::new(Plan { selection, allowed, call })))
}

/// `--set` with what other flags stand for; true where no policy is evaluated.
fn overrides(flags: &Flags, call: Option<&Call>) -> Result<(Vec<String>, bool), Problem> {
    let mut set = flags.set.clone();
    if flags.push {
        set.push("*.push=true".into());
    }
    if flags.load {
        set.push("*.load=true".into());
    }
    if let Some(call) = call {
        set.push(format!("*.call={}", call.name));
    }
    if let Some(on) = flags.no_cache {
        set.push(format!("*.no-cache={on}"));
    }
    if let Some(on) = flags.pull {
        set.push(format!("*.pull={on}"));
    }
    for (kind, text) in [("sbom", &flags.sbom), ("provenance", &flags.provenance)] {
        if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
            set.push(format!("*.attest={}", canonical_attest(kind, text)));
        }
    }
    let mut policies = Vec::new();
    for text in &flags.policy {
        policies.extend(Policy::parse(text).map_err(Problem::plain)?);
    }
    for (policy, text) in policies.iter().zip(&flags.policy) {
        let refuse = |what: &str| Err(Problem::plain(format!("--policy does not accept {what}")));
        if !policy.files.is_empty() {
            return refuse("filename; define policy files in the bake definition");
        }
        if policy.reset {
            return refuse("reset; define policy composition in the bake definition");
        }
        if policy.disabled {
            if policy.strict.is_some() || policy.log_level.is_some() || policies.len() > 1 {
                return Err(Problem::plain("disabled policy cannot be combined with other policy flags"));
            }
            return Ok((set, true));
        }
        set.push(format!("*.policy+={text}"));
    }
    Ok((set, false))
}

fn variables(texts: &[String]) -> Result<BTreeMap<String, String>, Problem> {
    let mut variables = BTreeMap::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let wrong = |why: &str| Problem::plain(format!("invalid variable {text:?}, {why}"));
        let (name, value) = text.split_once('=').ok_or_else(|| wrong("expected key=value"))?;
        if name.is_empty() {
            return Err(wrong("key is empty"));
        }
        variables.insert(name.to_owned(), value.to_owned());
    }
    Ok(variables)
}

fn relative_paths(host: &dyn Host) -> Result<bool, Problem> {
    const NAME: &str = "BUILDX_BAKE_FILE_RELATIVE_PATHS";
    let text = host.variable(NAME).unwrap_or_default();
    match text.trim() {
        "" => Ok(false),
        text => bool_of(text).ok_or_else(|| {
            let why = format!("strconv.ParseBool: parsing {text:?}: invalid syntax");
            Problem::plain(format!("failed to parse {NAME} value {text:?}: {why}"))
        }),
    }
}

/// Names of definitions that are looked for where none is named.
pub fn default_files() -> [&'static str; 8] {
    [
        "compose.yaml",
        "compose.yml",
        "docker-compose.yml",
        "docker-compose.yaml",
        "docker-bake.json",
        "docker-bake.hcl",
        "docker-bake.override.json",
        "docker-bake.override.hcl",
    ]
}

/// Reads all files: compose files first, then the others over them.
fn read(
    sources: &[Source],
    host: &dyn Host,
    vars: &BTreeMap<String, String>,
    context: Option<&str>,
    relative: bool,
) -> Result<(Config, Evaluated), Problem> {
    let surroundings = Surroundings { host, overrides: vars, environment: environment_allowed(host) };
    let (mut bodies, mut files) = (Vec::new(), Vec::new());
    for (at, source) in sources.iter().enumerate() {
        let named = [".json", ".hcl"].iter().any(|ending| source.name.to_lowercase().ends_with(ending));
        let composed =
            compose::is_compose(&source.name) || (!named && compose::read(&[source], &[at], &surroundings).is_ok());
        if composed {
            files.push(at);
        } else {
            bodies.push(syntax::parse(at, source)?);
        }
    }
    let (mut config, mut found) = (Config::default(), Vec::new());
    if !files.is_empty() {
        let composed: Vec<&Source> = files.iter().map(|&at| &sources[at]).collect();
        (config, found) = compose::read(&composed, &files, &surroundings)?;
    }
    let folder = |source: &Source| {
        let local = !source.name.is_empty() && source.name != "-" && !crate::remote::is_remote(&source.name);
        let folder = source.name.rsplit_once('/').map_or(".", |(folder, _)| folder);
        local.then(|| if folder == "." { ".".to_owned() } else { folder.to_owned() })
    };
    let folders: Vec<Option<String>> = sources.iter().map(folder).collect();
    let builtin: BTreeMap<String, String> = [
        ("BAKE_CMD_CONTEXT".to_owned(), context.unwrap_or("cwd://").to_owned()),
        ("BAKE_LOCAL_PLATFORM".to_owned(), Platform::host().to_string()),
    ]
    .into();
    let inputs = Inputs {
        overrides: vars,
        environment: environment_allowed(host),
        builtin: &builtin,
        folders: if relative { &folders } else { &[] },
    };
    if relative {
        let first = files.first().and_then(|&at| folders[at].clone());
        compose::set_bases(&mut config, first.as_deref());
    }
    let mut evaluated = Evaluated::default();
    if !bodies.is_empty() {
        evaluated = evaluate(&bodies, host, &inputs, &mut config)?;
    }
    evaluated.warnings.extend(found);
    if relative {
        rebase(&mut config);
    }
    Ok((config, evaluated))
}

/// Makes paths relative to the files that set them.
fn rebase(config: &mut Config) {
    for at in 0..config.targets.len() {
        let reference = config.targets[at].bases.reference.clone();
        let other = config.targets.iter().find(|target| !reference.is_empty() && target.name == reference);
        if let Some(base) = other.and_then(|other| other.bases.context.clone().or(other.bases.default.clone())) {
            config.targets[at].bases.context = Some(base);
        }
        config.targets[at].rebase();
    }
}

/// The selection as JSON, as Go's encoder indents and escapes it.
pub fn print(selection: &Selection) -> String {
    let groups: Map<String, Json> =
        selection.groups.iter().map(|(name, group)| (name.clone(), group_json(group))).collect();
    let targets = selection.targets.iter().map(|(name, target)| (name.clone(), target_json(target)));
    let mut whole = Map::new();
    if !groups.is_empty() {
        whole.insert("group".into(), Json::Object(groups));
    }
    whole.insert("target".into(), Json::Object(targets.collect()));
    let text = serde_json::to_string_pretty(&Json::Object(whole)).unwrap_or_default();
    list::escape(&text) + "\n"
}
