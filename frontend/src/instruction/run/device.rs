//! `RUN --device=vendor.com/class=name[,required]`: a device by its CDI name (Container Device Interface).

use super::mount::csv;
use crate::diagnostic::Diagnostic;
use crate::line::Flag;
use crate::op;
use base::words::closest;

/// Reads a flag.
pub(super) fn parse(flag: &Flag) -> Result<op::Device, Diagnostic> {
    let error = |message: String| Diagnostic::error("device", message, Some(flag.span.clone()));
    let mut device = op::Device::default();
    for field in csv(flag.value.as_deref().unwrap_or("")).map_err(&error)? {
        match field.split_once('=').map(|(key, value)| (key.to_lowercase(), value)) {
            None if field.eq_ignore_ascii_case("required") => device.required = true,
            Some((key, value)) if key == "required" => {
                let wrong = || error(format!("invalid value for required: {value}"));
                device.required = base::words::bool_of(value).ok_or_else(wrong)?;
            }
            Some((key, value)) if key == "name" && device.name.is_empty() => device.name = value.to_owned(),
            // A name holds `=` itself: `vendor.com/class=name`.
            _ if device.name.is_empty() => device.name = field,
            Some((key, _)) if key == "name" => {
                return Err(error(format!("device name already set to {}", device.name)));
            }
            _ => {
                let key = field.split('=').next().unwrap_or("");
                let wrong = error(format!("unexpected key '{key}' in '{field}'"));
                return Err(match closest(key, ["name", "required"]) {
                    Some(near) => wrong.label(format!("did you mean {near}?")),
                    None => wrong.help("write `--device=vendor.com/class=name,required`"),
                });
            }
        }
    }
    if device.name.is_empty() {
        return Err(error("a device has a name".to_owned()).help("write `--device=vendor.com/class=name`"));
    }
    Ok(device)
}
