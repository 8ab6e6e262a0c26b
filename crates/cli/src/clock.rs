//! The time that a run writes into what it makes.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::message::Failure;

/// The time of all changes, in seconds since 1970: `SOURCE_DATE_EPOCH` where it is set, else now.
pub fn now() -> Result<i64, Failure> {
    if let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") {
        return text
            .to_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                let what = anyhow::anyhow!(
                    "SOURCE_DATE_EPOCH is no number of seconds: {}",
                    text.display()
                );
                Failure::new(what, None)
            });
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
