//! Times as documents have them, and how long something is to hold.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// A time as documents have it, such as `2026-11-25T12:00:00Z`.
pub fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// How long something is to hold: a whole number and `h`, `d`, `w` or `y` (365 days), as in `30d`.
pub fn duration(text: &str) -> Result<TimeDelta, String> {
    /// What is to hold longer holds for ever, which nothing should.
    const LONGEST: TimeDelta = TimeDelta::days(100 * 365);
    const NONE: &str = "is no duration such as 12h, 30d, 8w or 10y";
    let unit = text.chars().next_back().ok_or(NONE)?;
    let hours = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 7 * 24,
        'y' => 365 * 24,
        _ => return Err(NONE.to_owned()),
    };
    let count: u32 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| NONE)?;
    TimeDelta::try_hours(i64::from(count) * hours)
        .filter(|duration| *duration > TimeDelta::zero() && *duration <= LONGEST)
        .ok_or_else(|| "is not between 1h and 100y".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(duration("12h").unwrap(), TimeDelta::hours(12));
        assert_eq!(duration("30d").unwrap(), TimeDelta::days(30));
        assert_eq!(duration("2w").unwrap(), TimeDelta::days(14));
        assert_eq!(duration("10y").unwrap(), TimeDelta::days(3650));
        for wrong in [
            "",
            "d",
            "30",
            "0d",
            "-1d",
            "1.5d",
            "30 d",
            "101y",
            "99999999999d",
            "1日",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_whole_seconds_in_utc() {
        let time = DateTime::from_timestamp(0, 5).unwrap();
        assert_eq!(text(time), "1970-01-01T00:00:00Z");
    }
}
