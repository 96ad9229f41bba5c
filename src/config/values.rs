//! Durations, sizes and counts as people write them.

use std::{ops::RangeInclusive, time::Duration};

/// No wait or age is longer than this, so that adding one to a point in time cannot overflow.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads `"5s"`, `"500ms"`, `"1h 30m"`: more than nothing and at most a year. The error says what would be right.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text.trim().parse::<f64>().is_ok() {
        return Err(format!("{text:?} has no unit; write it as \"5s\" or \"500ms\""));
    }
    match humantime::parse_duration(text.trim()) {
        Err(_) => Err(format!(
            "{text:?} is not a duration; write it as \"5s\", \"500ms\" or \"10m\""
        )),
        Ok(value) if value.is_zero() => Err("must be longer than nothing".to_owned()),
        Ok(value) if value > LONGEST => Err("must be at most one year (\"365days\")".to_owned()),
        Ok(value) => Ok(value),
    }
}

/// What a size may be followed by, and how many bytes that is (IEC 80000-13 for the binary ones).
const UNITS: &[(&str, u64)] = &[
    ("b", 1),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];

/// Reads `"64MiB"`, `"1GB"` or a plain number of bytes. The error says what would be right.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" => Some(1),
        unit => UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor),
    };
    let (false, Some(factor)) = (number.is_empty(), factor) else {
        return Err(format!(
            "{text:?} is not a size; write it as \"64MiB\", \"1GiB\", \"500kB\" or in bytes"
        ));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| format!("{text:?} is too large"))
}

/// `bytes` as people write it: in the largest binary unit that keeps it whole.
pub fn display_size(bytes: usize) -> String {
    match bytes {
        0 => "0B".to_owned(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

/// Checks a count against its bounds. The error says what would be right.
pub(super) fn count(number: i64, bounds: &RangeInclusive<usize>) -> Result<usize, String> {
    usize::try_from(number)
        .ok()
        .filter(|number| bounds.contains(number))
        .ok_or_else(|| {
            format!(
                "{number} is out of range; it must be from {} to {}",
                bounds.start(),
                bounds.end()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bounds() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration(" 500ms "), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for (text, says) in [
            ("5", "has no unit"),
            ("0.5", "has no unit"),
            ("", "not a duration"),
            ("5 parsecs", "not a duration"),
            ("-5s", "not a duration"),
            ("99999999999999999999s", "not a duration"),
            ("0s", "longer than nothing"),
            ("10years", "at most one year"),
        ] {
            let error = duration(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_take_binary_and_decimal_units() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("1MB", 1_000_000),
            ("1 kB", 1000),
            ("2kib", 2048),
            ("7", 7),
            ("7B", 7),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for (text, says) in [
            ("", "not a size"),
            ("MiB", "not a size"),
            ("1.5GiB", "not a size"),
            ("-1", "not a size"),
            ("1 parsec", "not a size"),
            ("99999999999999GiB", "too large"),
            ("99999999999999999999999", "too large"),
        ] {
            let error = size(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_shown_as_they_are_read() {
        for bytes in [0, 1, 1023, 1 << 10, 1_000_000, 64 << 20, 3 << 30] {
            assert_eq!(size(&display_size(bytes)), Ok(bytes));
        }
    }
}
