//! Sizes and times as text.

use api::Timestamp;

/// A size in bytes: `12B`, `1.50kB`, `3.00MB`, by powers of 1024.
pub fn size(bytes: i64) -> String {
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = "kB";
    for next in ["MB", "GB", "TB", "PB", "EB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.2}{unit}")
}

/// A size in megabytes, as image lists show it.
pub fn megabytes(bytes: i64) -> String {
    format!("{:.2}MB", bytes as f64 / 1024.0 / 1024.0)
}

/// `2016/04/20 21:28 UTC`; never is an empty text.
pub fn minute(time: Timestamp) -> String {
    time.0.map(|time| time.strftime("%Y/%m/%d %H:%M UTC").to_string()).unwrap_or_default()
}

/// `Apr 20, 2016 at 9:28pm (UTC)`.
pub fn words(time: Timestamp) -> String {
    time.0.map(|time| time.strftime("%b %-d, %Y at %-I:%M%P (UTC)").to_string()).unwrap_or_default()
}

/// Whether a time stands for none: absent, or the start of Unix time.
pub fn is_unset(time: Timestamp) -> bool {
    time.unix() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [(12, "12B"), (1023, "1023B"), (1536, "1.50kB"), (3 << 20, "3.00MB"), (1 << 50, "1.00PB"), (i64::MAX, "8.00EB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(megabytes(1 << 30), "1024.00MB");
    }

    #[test]
    fn times() {
        let time = Timestamp::from_unix(1_461_187_680);
        assert_eq!(minute(time), "2016/04/20 21:28 UTC");
        assert_eq!(words(time), "Apr 20, 2016 at 9:28pm (UTC)");
        assert_eq!(minute(Timestamp::NEVER), "");
        assert!(is_unset(Timestamp::NEVER) && is_unset(Timestamp::from_unix(0)) && !is_unset(time));
    }
}
