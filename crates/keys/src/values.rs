//! Parsers of single values. An error is one sentence without the key's name.

/// `true yes on 1` and `false no off 0`, in any case.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("Invalid value for a boolean: {text}")),
    }
}

/// A signed decimal number.
pub fn parse_int(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("Invalid value for an integer: {text}"))
}

/// A decimal number that is not negative. As all numbers of the API, it fits into 63 bits.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let number: Option<u64> = text.parse().ok();
    number.filter(|number| *number <= i64::MAX as u64).ok_or_else(|| format!("Invalid value for an integer: {text}"))
}

/// An unsigned decimal number of at most 31 bits, as id ranges need.
pub fn parse_uint32(text: &str) -> Result<u32, String> {
    let number: Option<u32> = text.parse().ok();
    number.filter(|number| *number <= i32::MAX as u32).ok_or_else(|| format!("Invalid value for uint32: {text}"))
}

/// A size in bytes: a number and an optional unit. `kB MB GB TB PB EB` and `KiB MiB GiB TiB PiB
/// EiB` are both powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, suffix) = split_number(text)?;
    let power = match suffix {
        "" | "B" | " bytes" => 0,
        "kB" | "KiB" => 1,
        "MB" | "MiB" => 2,
        "GB" | "GiB" => 3,
        "TB" | "TiB" => 4,
        "PB" | "PiB" => 5,
        "EB" | "EiB" => 6,
        _ => return Err(format!("Unsupported suffix: {suffix}")),
    };
    number.checked_mul(1 << (10 * power)).ok_or_else(|| format!("Invalid value: {text} is more than 16EiB"))
}

/// A bit rate in bits per second: a number and `bit kbit Mbit Gbit Tbit Pbit Ebit`, powers of 1000.
pub fn parse_bit_rate(text: &str) -> Result<u64, String> {
    let (number, suffix) = split_number(text)?;
    let power = match suffix {
        "bit" => 0,
        "kbit" => 1,
        "Mbit" => 2,
        "Gbit" => 3,
        "Tbit" => 4,
        "Pbit" => 5,
        "Ebit" => 6,
        "" => return Err(format!("Invalid value: {text} has no unit")),
        _ => return Err(format!("Unsupported suffix: {suffix}")),
    };
    number.checked_mul(1000_u64.pow(power)).ok_or_else(|| format!("Invalid value: {text} is too large"))
}

/// A size as the API's texts show it: `12B`, `1.50MB`.
pub fn format_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

/// Splits `12MB` into 12 and `MB`.
fn split_number(text: &str) -> Result<(u64, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    if digits.is_empty() {
        return Err(format!("Invalid integer: {text}"));
    }
    let number = digits.parse().map_err(|_| format!("Invalid integer: {digits}"))?;
    Ok((number, suffix))
}

/// A memory limit: bytes or a share of what the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// So many bytes.
    Bytes(u64),
    /// Percent of the host's memory.
    Percent(u64),
}

impl MemoryLimit {
    /// The limit in bytes on a host with `total` bytes of memory.
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => total / 100 * percent,
        }
    }
}

/// A size, or `N%`.
pub fn parse_memory(text: &str) -> Result<MemoryLimit, String> {
    let Some(number) = text.strip_suffix('%') else {
        return parse_size(text).map(MemoryLimit::Bytes);
    };
    let percent: u64 = number.parse().map_err(|_| format!("Invalid integer: {number}"))?;
    if !(1..=100).contains(&percent) {
        return Err(format!("Invalid value: {text} isn't between 1% and 100%"));
    }
    Ok(MemoryLimit::Percent(percent))
}

/// A disk rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskRate {
    /// Bytes per second.
    Bytes(u64),
    /// Operations per second.
    Operations(u64),
}

/// A size per second, or `Niops`.
pub fn parse_disk_rate(text: &str) -> Result<DiskRate, String> {
    match text.strip_suffix("iops") {
        Some(number) => number.parse().map(DiskRate::Operations).map_err(|_| format!("Invalid integer: {number}")),
        None => parse_size(text).map(DiskRate::Bytes),
    }
}

/// A resource limit of processes: soft and hard, `None` being unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// What a process starts with.
    pub soft: Option<u64>,
    /// Up to which it may raise that.
    pub hard: Option<u64>,
}

/// A number or `unlimited`; two of them with a colon between for soft and hard.
pub fn parse_resource_limit(text: &str) -> Result<ResourceLimit, String> {
    let bad = || format!("Invalid resource limit: {text}");
    let one = |part: &str| if part == "unlimited" { Ok(None) } else { part.parse().map(Some).map_err(|_| bad()) };
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let limit = ResourceLimit { soft: one(soft)?, hard: one(hard)? };
    if limit.hard.is_some_and(|hard| limit.soft.is_none_or(|soft| soft > hard)) {
        return Err(format!("{}: the soft limit is above the hard one", bad()));
    }
    Ok(limit)
}

/// An octal file mode of at most four digits.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777 && !digits.starts_with('+'));
    mode.ok_or_else(|| format!("Bad mode {text}"))
}

/// A hardware address, `00:16:3e:12:34:56`; returned in bytes.
pub fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let bad = || format!("Invalid hardware address: {text}");
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+')).ok_or_else(bad)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
    }
    if parts.next().is_some() {
        return Err(bad());
    }
    if bytes[0] & 1 == 1 {
        return Err(format!("Invalid hardware address: {text} is a multicast address"));
    }
    Ok(bytes)
}

/// A duration such as `1H`, `2d 12H`, `3w`: minutes `M`, hours `H`, days `d`, weeks `w`, months
/// `m` (30 days), years `y` (365 days), seconds `S`. Returned in seconds.
pub fn parse_expiry(text: &str) -> Result<u64, String> {
    let bad = |part: &str| format!("Invalid duration: {part}");
    let mut seconds = 0_u64;
    for part in text.split_ascii_whitespace() {
        let (number, unit) = split_number(part).map_err(|_| bad(part))?;
        let factor = match unit {
            "S" => 1,
            "M" => 60,
            "H" => 3600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            "m" => 30 * 86_400,
            "y" => 365 * 86_400,
            _ => return Err(bad(part)),
        };
        let more = number.checked_mul(factor).ok_or_else(|| bad(part))?;
        seconds = seconds.checked_add(more).ok_or_else(|| bad(part))?;
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bool_texts() {
        assert_eq!(parse_bool("YES"), Ok(true));
        assert_eq!(parse_bool("0"), Ok(false));
        assert_eq!(parse_bool("maybe"), Err("Invalid value for a boolean: maybe".into()));
    }

    #[test]
    fn counts() {
        assert_eq!(parse_count("9223372036854775807"), Ok(i64::MAX as u64));
        for bad in ["9223372036854775808", "-1", "", "1.5"] {
            assert_eq!(parse_count(bad), Err(format!("Invalid value for an integer: {bad}")));
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("5"), Ok(5));
        assert_eq!(parse_size("5B"), Ok(5));
        assert_eq!(parse_size("5 bytes"), Ok(5));
        assert_eq!(parse_size("1kB"), Ok(1024));
        assert_eq!(parse_size("10GiB"), Ok(10 << 30));
        assert_eq!(parse_size("1EB"), Ok(1 << 60));
        assert_eq!(parse_size("5KB"), Err("Unsupported suffix: KB".into()));
        assert_eq!(parse_size("-5MB"), Err("Invalid integer: -5MB".into()));
        assert_eq!(parse_size("1.5GB"), Err("Unsupported suffix: .5GB".into()));
        assert!(parse_size("16EB").is_err());
        assert!(parse_size("99999999999999999999").is_err());
    }

    #[test]
    fn size_texts() {
        assert_eq!(format_size(1023), "1023B");
        assert_eq!(format_size(1536 * 1024), "1.50MB");
        assert_eq!(format_size(u64::MAX), "16.00EB");
    }

    #[test]
    fn bit_rates_need_a_unit() {
        assert_eq!(parse_bit_rate("100Mbit"), Ok(100_000_000));
        assert!(parse_bit_rate("100").is_err());
        assert!(parse_bit_rate("100MB").is_err());
        assert!(parse_bit_rate("99999Ebit").is_err());
    }

    #[test]
    fn memory() {
        assert_eq!(parse_memory("50%"), Ok(MemoryLimit::Percent(50)));
        assert_eq!(MemoryLimit::Percent(50).bytes(1000), 500);
        assert!(parse_memory("0%").is_err());
        assert!(parse_memory("101%").is_err());
    }

    #[test]
    fn rates_modes_addresses() {
        assert_eq!(parse_disk_rate("100iops"), Ok(DiskRate::Operations(100)));
        assert_eq!(parse_disk_rate("1MB"), Ok(DiskRate::Bytes(1 << 20)));
        assert_eq!(parse_mode("0660"), Ok(0o660));
        assert_eq!(parse_mode("888"), Err("Bad mode 888".into()));
        assert!(parse_mode("17777").is_err());
        assert_eq!(parse_mac("00:16:3E:00:00:ff"), Ok([0, 0x16, 0x3e, 0, 0, 0xff]));
        assert!(parse_mac("01:16:3e:00:00:ff").is_err());
        assert!(parse_mac("00:16:3e:00:00:ff,ignore").is_err());
        assert!(parse_mac("00:16:3e:00:00").is_err());
    }

    #[test]
    fn resource_limits() {
        assert_eq!(parse_resource_limit("100"), Ok(ResourceLimit { soft: Some(100), hard: Some(100) }));
        assert_eq!(parse_resource_limit("100:unlimited"), Ok(ResourceLimit { soft: Some(100), hard: None }));
        assert_eq!(parse_resource_limit("unlimited"), Ok(ResourceLimit { soft: None, hard: None }));
        for bad in ["", "x", "2:1", "unlimited:1", "1:2:3", "-1"] {
            assert!(parse_resource_limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn expiry() {
        assert_eq!(parse_expiry("1d 2H"), Ok(86_400 + 7200));
        assert!(parse_expiry("1 d").is_err());
        assert!(parse_expiry("1h").is_err());
    }
}
