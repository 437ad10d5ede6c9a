//! `limits.cpu` and `limits.cpu.allowance`.

/// Which processors an instance may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuLimit {
    /// So many, balanced over the host.
    Count(u32),
    /// Exactly these, sorted and unique.
    Set(Vec<u32>),
}

/// Largest processor number taken (the kernel's own ceiling is 8192).
const MAX_CPU: u32 = 8191;

/// `4` is a count; `1,3`, `0-2`, `1-1` are sets.
pub fn parse_cpu_limit(text: &str) -> Result<CpuLimit, String> {
    let bad = || format!("Invalid CPU limit: {text}");
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let count: u32 = text.parse().map_err(|_| bad())?;
        return if count == 0 { Err(bad()) } else { Ok(CpuLimit::Count(count)) };
    }
    parse_cpu_list(text).map(CpuLimit::Set).map_err(|_| bad())
}

/// The kernel's list format: `0-3,7`. Sorted and unique; empty text is an empty list.
pub fn parse_cpu_list(text: &str) -> Result<Vec<u32>, String> {
    let bad = || format!("Invalid CPU list: {text}");
    let mut cpus = std::collections::BTreeSet::new();
    for part in text.trim().split(',').filter(|_| !text.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let parse = |digits: &str| digits.trim().parse::<u32>().ok().filter(|cpu| *cpu <= MAX_CPU);
        let (first, last) = parse(first).zip(parse(last)).ok_or_else(bad)?;
        if first > last {
            return Err(bad());
        }
        cpus.extend(first..=last);
    }
    Ok(cpus.into_iter().collect())
}

/// Prints numbers in the kernel's list format, ranges folded: `0-3,7`.
pub fn format_cpu_list(cpus: &[u32]) -> String {
    let mut sorted = cpus.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let runs = sorted.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [only] => only.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    });
    runs.collect::<Vec<_>>().join(",")
}

/// How much processor time an instance gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuAllowance {
    /// A share under contention.
    Percent(u64),
    /// A hard limit: so much time in each period.
    Time {
        /// Milliseconds of processor time.
        quota_ms: u64,
        /// In each so many milliseconds.
        period_ms: u64,
    },
}

/// `50%` or `20ms/100ms`.
pub fn parse_cpu_allowance(text: &str) -> Result<CpuAllowance, String> {
    let bad = || format!("Invalid allowance: {text}");
    if let Some(number) = text.strip_suffix('%') {
        let percent = number.parse().map_err(|_| bad())?;
        return if (1..=100).contains(&percent) { Ok(CpuAllowance::Percent(percent)) } else { Err(bad()) };
    }
    let (quota, period) = text.split_once('/').ok_or_else(bad)?;
    let parse = |part: &str| part.trim().strip_suffix("ms").and_then(|number| number.parse::<u64>().ok());
    let (quota_ms, period_ms) = parse(quota).zip(parse(period)).ok_or_else(bad)?;
    // The kernel takes periods of 1 ms to 1 s and a quota of at least 1 ms.
    if quota_ms == 0 || quota_ms > 1_000_000 || !(1..=1000).contains(&period_ms) {
        return Err(bad());
    }
    Ok(CpuAllowance::Time { quota_ms, period_ms })
}

/// `cpu.shares` for an allowance and a priority (0 to 10): a base, less what is missing to 10.
pub fn cpu_shares(allowance: Option<CpuAllowance>, priority: i64) -> u64 {
    let base = match allowance {
        Some(CpuAllowance::Percent(percent)) => 10 * percent as i64 + 24,
        Some(CpuAllowance::Time { .. }) | None => 1024,
    };
    (base - (10 - priority)).max(0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_sets() {
        assert_eq!(parse_cpu_limit("2"), Ok(CpuLimit::Count(2)));
        assert_eq!(parse_cpu_limit("1-1"), Ok(CpuLimit::Set(vec![1])));
        assert_eq!(parse_cpu_limit("3,0-1"), Ok(CpuLimit::Set(vec![0, 1, 3])));
        for bad in ["0", "", "a", "3-1", "1,", "0-99999999", "-1"] {
            assert!(parse_cpu_limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_fold() {
        assert_eq!(format_cpu_list(&[7, 0, 1, 2, 2]), "0-2,7");
        assert_eq!(format_cpu_list(&[]), "");
        assert_eq!(parse_cpu_list("0-3\n"), Ok(vec![0, 1, 2, 3]));
    }

    #[test]
    fn allowances() {
        assert_eq!(parse_cpu_allowance("50%"), Ok(CpuAllowance::Percent(50)));
        assert_eq!(parse_cpu_allowance("100ms/50ms"), Ok(CpuAllowance::Time { quota_ms: 100, period_ms: 50 }));
        for bad in ["50", "0%", "10ms", "10s/20s", "10ms/0ms"] {
            assert_eq!(parse_cpu_allowance(bad), Err(format!("Invalid allowance: {bad}")));
        }
    }

    #[test]
    fn shares_follow_the_table() {
        assert_eq!(cpu_shares(None, 10), 1024);
        assert_eq!(cpu_shares(Some(CpuAllowance::Percent(100)), 10), 1024);
        assert_eq!(cpu_shares(Some(CpuAllowance::Percent(10)), 10), 124);
        assert_eq!(cpu_shares(Some(CpuAllowance::Percent(10)), 0), 114);
        assert_eq!(cpu_shares(Some(CpuAllowance::Time { quota_ms: 1, period_ms: 1 }), 0), 1014);
    }
}
