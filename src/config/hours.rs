//! Hours of the day, in local time.

use std::fmt;
use std::str::FromStr;

/// From one minute of the day until before another; over midnight where the first is the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    from: u32,
    until: u32,
}

impl Hours {
    /// Whether they hold a minute of the day, counted from midnight.
    pub fn hold(self, minute: u32) -> bool {
        if self.from <= self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        }
    }
}

impl FromStr for Hours {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "must be hours of the day such as 22:00-06:00";
        let minute = |text: &str| -> Option<u32> {
            let (hour, minute) = text.trim().split_once(':')?;
            let number = |text: &str, most: u32| -> Option<u32> {
                let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse().ok().filter(|number| digits && *number <= most)
            };
            Some(number(hour, 23)? * 60 + number(minute, 59)?)
        };
        let (from, until) = text.split_once('-').ok_or(WRONG)?;
        match (minute(from), minute(until)) {
            (Some(from), Some(until)) if from != until => Ok(Self { from, until }),
            _ => Err(WRONG),
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{}-{}", clock(self.from), clock(self.until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_go_over_midnight() {
        let night: Hours = "22:00-06:30".parse().unwrap();
        for (minute, held) in [
            (0, true),
            (389, true),
            (390, false),
            (1319, false),
            (1320, true),
        ] {
            assert_eq!(night.hold(minute), held, "{minute}");
        }
        let noon: Hours = "12:00 - 13:00".parse().unwrap();
        assert!(noon.hold(720) && !noon.hold(780) && !noon.hold(0));
        assert_eq!(night.to_string(), "22:00-06:30");
    }

    #[test]
    fn what_is_no_hours_of_the_day_is_refused() {
        for text in [
            "",
            "22-6",
            "22:00",
            "24:00-06:00",
            "22:60-06:00",
            "6:00-7:00",
            "06:00-06:00",
        ] {
            assert!(text.parse::<Hours>().is_err(), "{text}");
        }
    }
}
