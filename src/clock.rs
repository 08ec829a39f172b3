//! What time it is. Whatever this says must stand in a record or a key of its own: equal inputs give equal bytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since 1970; a clock that is set before that says 1970.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}
