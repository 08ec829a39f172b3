//! `kiln du` and `kiln prune`: disk usage and removal; and the recovery after a crash.

use super::args;
use crate::gc::inventory::{Inventory, Item};
use crate::gc::measure::Usage;
use crate::gc::policy::{self, Amount, Filter, Rule};
use crate::gc::{Collected, Other, collect, recover};
use base::clock::rfc3339;
use base::error::{Error, Kind, Result};
use base::size;
use base::text;
use layer::Layers;
use sandbox::Stop;
use serde_json::json;
use solver::{Event, Observer};
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;
use store::boot;

/// The age in seconds that `kiln prune` keeps by default.
const KEEP: i64 = 7 * 86_400;

fn failed(cause: std::io::Error) -> Error {
    Error::new(Kind::Export, "cannot print the answer").because(cause)
}

/// The filters, and the age in `until=`.
fn filters(texts: &[String]) -> Result<(Vec<Filter>, Option<i64>)> {
    let (mut all, mut until) = (Vec::new(), None);
    for text in texts.iter().flat_map(|text| text.split(',')) {
        match text.strip_prefix("until=") {
            Some(age) => until = Some(policy::duration(age)?),
            None => all.push(Filter::parse(text)?),
        }
    }
    Ok((all, until))
}

/// The rule from the flags.
fn rule(args: &args::Prune) -> Result<Rule> {
    let (filters, until) = filters(&args.filter)?;
    let amount = |text: &Option<String>| text.as_deref().map(Amount::parse).transpose();
    let (max_used, min_free) = (amount(&args.max_used_space)?, amount(&args.min_free_space)?);
    let reserved = amount(&args.reserved_space)?;
    let narrow = !filters.is_empty() || max_used.is_some() || min_free.is_some() || reserved.is_some();
    let keep = match (&args.keep_duration, until) {
        (Some(age), _) => policy::duration(age)?,
        (None, Some(age)) => age,
        (None, None) if args.all || narrow => 0,
        (None, None) => KEEP,
    };
    let flags: [(&str, bool); 5] = [
        (" --all", args.all),
        (" --filter", !args.filter.is_empty()),
        (" --max-used-space", max_used.is_some()),
        (" --min-free-space", min_free.is_some()),
        (" --reserved-space", reserved.is_some()),
    ];
    let given: String = flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect();
    let name = format!("kiln prune{given}");
    let all = args.all;
    Ok(Rule { name, filters, keep, all, max_used, reserved, min_free, exact: true, ..Rule::default() })
}

/// Removes data and prints the result.
pub fn prune(root: &Path, args: &args::Prune, now: i64, out: &mut dyn Write) -> Result<()> {
    let rule = rule(args)?;
    let Some(done) = collect(root, &rule, now, Other::Wait(&Stop::default()))? else { return Ok(()) };
    if args.verbose {
        for item in &done.items {
            writeln!(
                out,
                "{}  {:<20} {:>9}  {}",
                short(item),
                item.kind.name(),
                size::shown(item.usage.bytes),
                item.description
            )
            .map_err(failed)?;
        }
    }
    for stuck in &done.stuck {
        // A failed removal does not stop the others.
        let _ = writeln!(std::io::stderr(), "warning: cannot remove {stuck}");
    }
    print(&done, out).map_err(failed)
}

fn print(done: &Collected, out: &mut dyn Write) -> std::io::Result<()> {
    let missing = match done.missing {
        Usage { bytes: 0, inodes: 0 } => None,
        Usage { bytes: 0, inodes } => Some(format!("{inodes} files")),
        Usage { bytes, .. } => Some(size::shown(bytes)),
    };
    if let Some(missing) = missing {
        let why = "images or running builds need it, it is too young, or the filters keep it";
        writeln!(out, "{missing} more should go, but {why}")?;
    }
    writeln!(out, "freed {}, {} left", size::shown(done.freed.bytes), size::shown(done.left.bytes))
}

/// Collects garbage if it is due. A failure does not fail the build.
pub fn after_build(root: &Path, rule: &Rule, now: i64, observer: &dyn Observer) {
    let warn = |text: String| observer.event(SystemTime::now(), &Event::Warning { text });
    match policy::after_build(root, rule, now) {
        Ok(Some(done)) => {
            done.stuck.iter().for_each(|stuck| warn(format!("cannot remove {stuck}")));
            if done.freed.bytes > 0 {
                let (freed, left) = (size::shown(done.freed.bytes), size::shown(done.left.bytes));
                warn(format!("collected: freed {freed}, {left} left"));
            }
        }
        Ok(None) => {}
        Err(error) => warn(format!("the store could not be collected: {error}")),
    }
}

/// Checks what a crash of the machine may have damaged, once after each boot, and returns a message
/// about lost data.
pub fn after_boot(layers: &Layers) -> Result<Option<String>> {
    let Some(boot) = boot::begin(layers.store().root())? else { return Ok(None) };
    let lost = recover(layers, boot.since())?;
    boot.finish()?;
    let text = format!(
        "{lost} things of the store were lost when the machine went down; they are made again when they are needed"
    );
    Ok(Some(text).filter(|_| lost > 0))
}

/// Prints the disk usage.
pub fn du(root: &Path, args: &args::Du, now: i64, out: &mut dyn Write) -> Result<()> {
    let (filters, until) = filters(&args.filter)?;
    let inventory = Inventory::read(root, true, now)?;
    let old = |item: &&Item| until.is_none_or(|age| item.last_used.saturating_add(age) <= now);
    let passes = |item: &&Item| filters.iter().all(|filter| filter.holds(item));
    let mut items: Vec<&Item> = inventory.items.iter().filter(old).filter(passes).collect();
    items.sort_by(|one, two| two.usage.bytes.cmp(&one.usage.bytes).then_with(|| one.id.cmp(&two.id)));
    if args.format == "json" {
        return items.iter().try_for_each(|item| writeln!(out, "{}", as_json(item))).map_err(failed);
    }
    if args.verbose {
        items.iter().try_for_each(|item| describe(item, out)).map_err(failed)?;
    } else {
        table(&items, out).map_err(failed)?;
    }
    let sum =
        |of: &dyn Fn(&Item) -> bool| items.iter().filter(|item| of(item)).map(|item| item.usage.bytes).sum::<u64>();
    let (shared, in_use) = (sum(&|item| item.shared), sum(&|item| item.in_use));
    let total = sum(&|_| true);
    writeln!(out, "Shared:      {}", size::shown(shared)).map_err(failed)?;
    writeln!(out, "Private:     {}", size::shown(total - shared)).map_err(failed)?;
    writeln!(out, "Reclaimable: {}", size::shown(total - in_use)).map_err(failed)?;
    writeln!(out, "Total:       {}", size::shown(total)).map_err(failed)
}

fn table(items: &[&Item], out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{:<14}{:<21}{:<13}{:>10}  {:<22}DESCRIPTION", "ID", "TYPE", "RECLAIMABLE", "SIZE", "LAST USED")?;
    // Internal items are summed up in one line per kind.
    let small = |item: &Item| item.kind == crate::gc::inventory::Type::Internal;
    for item in items.iter().filter(|item| !small(item)) {
        let description = text::line(&item.description, 60);
        writeln!(
            out,
            "{:<14}{:<21}{:<13}{:>10}  {:<22}{description}",
            short(item),
            item.kind.name(),
            !item.in_use,
            size::shown(item.usage.bytes),
            rfc3339(item.last_used)
        )?;
    }
    let (count, sum) =
        items.iter().filter(|item| small(item)).fold((0, 0), |(n, sum), item| (n + 1, sum + item.usage.bytes));
    if count > 0 {
        writeln!(
            out,
            "{:<14}{:<21}{:<13}{:>10}  {:<22}{count} things of kiln's own",
            "-",
            "internal",
            "",
            size::shown(sum),
            ""
        )?;
    }
    Ok(())
}

fn describe(item: &Item, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "ID:           {}", item.id)?;
    item.parents.iter().try_for_each(|parent| writeln!(out, "Parent:       {parent}"))?;
    writeln!(out, "Created at:   {}", rfc3339(item.created))?;
    writeln!(out, "Mutable:      {}", item.kind.is_mutable())?;
    writeln!(out, "Reclaimable:  {}", !item.in_use)?;
    writeln!(out, "Shared:       {}", item.shared)?;
    writeln!(out, "Size:         {}", size::shown(item.usage.bytes))?;
    writeln!(out, "Description:  {}", item.description)?;
    writeln!(out, "Last used:    {}", rfc3339(item.last_used))?;
    writeln!(out, "Type:         {}\n", item.kind.name())
}

fn as_json(item: &Item) -> serde_json::Value {
    json!({
        "ID": item.id,
        "Parents": item.parents,
        "CreatedAt": rfc3339(item.created),
        "LastUsedAt": rfc3339(item.last_used),
        "Mutable": item.kind.is_mutable(),
        "Reclaimable": !item.in_use,
        "Shared": item.shared,
        "Size": item.usage.bytes,
        "Description": item.description,
        "Type": item.kind.name(),
    })
}

fn short(item: &Item) -> String {
    item.id.chars().take(12).collect()
}
