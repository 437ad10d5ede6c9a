//! `instance_type`: sizes such as `c2-m4`, and names of clouds' sizes, turned into limits where none are set.

mod clouds;

use api::Config;
use keys::instance::{LIMITS_CPU, LIMITS_CPU_ALLOWANCE, LIMITS_MEMORY};

use crate::{Error, Result};
use clouds::Size;

/// What an error shows of how a size is written.
const FORM: &str = "it has the form cCPUS-mGIB, as in c2-m4, or is that of a cloud, as in aws:t2.micro";

/// Fills `limits.cpu`, `limits.cpu.allowance` and `limits.memory` from `cN`, `mN`, `cN-mN`, or the name of a cloud's
/// size, with the cloud in front or not.
pub(crate) fn apply(text: &str, config: &mut Config) -> Result<()> {
    let (cpu, memory) = match find(text, clouds::SIZES)? {
        Some(size) => (Some(size.cpu), Some(size.memory_gib)),
        None => parse(text)?,
    };
    if let Some(cpu) = cpu {
        let whole = cpu.ceil();
        let percent = (cpu / whole * 100.0) as u32;
        config.entry(LIMITS_CPU.name.to_owned()).or_insert_with(|| format!("{whole}"));
        if percent < 100 {
            config.entry(LIMITS_CPU_ALLOWANCE.name.to_owned()).or_insert_with(|| format!("{percent}%"));
        }
    }
    if let Some(memory) = memory {
        config.entry(LIMITS_MEMORY.name.to_owned()).or_insert_with(|| format!("{}MB", (memory * 1024.0) as u64));
    }
    Ok(())
}

/// The size of a cloud that is named, if one is.
fn find<'a>(text: &str, sizes: &'a [Size]) -> Result<Option<&'a Size>> {
    let (cloud, name) = text.split_once(':').map_or((None, text), |(cloud, name)| (Some(cloud), name));
    let mut found = sizes.iter().filter(|size| size.name == name && cloud.is_none_or(|cloud| cloud == size.cloud));
    let (first, second) = (found.next(), found.next());
    if let (Some(first), Some(second)) = (first, second) {
        return Err(Error::bad_request(format!("Ambiguous instance type provided: {text}"))
            .hint(format!("say {}:{name} or {}:{name}", first.cloud, second.cloud)));
    }
    if first.is_none() && (cloud.is_some() || !text.is_empty() && !text.starts_with(['c', 'm'])) {
        return Err(Error::bad_request(format!("Provided instance type doesn't exist: {text}"))
            .hint("say what it has instead, as cCPUS-mGIB: c2-m4 is 2 CPUs and 4 GiB of memory"));
    }
    Ok(first)
}

/// CPUs and GiB of `cN`, `mN` or `cN-mN`.
fn parse(text: &str) -> Result<(Option<f64>, Option<f64>)> {
    let bad = || Error::bad_request(format!("Bad instance type: {text}")).hint(FORM);
    let (mut cpu, mut memory) = (None, None);
    for part in text.split('-') {
        let is_number = |number: &f64| *number > 0.0 && *number < 1e6;
        let number: f64 = part.get(1..).and_then(|digits| digits.parse().ok()).filter(is_number).ok_or_else(bad)?;
        match part.as_bytes().first() {
            Some(b'c') => cpu = Some(number),
            Some(b'm') => memory = Some(number),
            _ => return Err(bad()),
        }
    }
    Ok((cpu, memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> (String, String, String) {
        let mut config = Config::new();
        apply(text, &mut config).expect(text);
        let limit = |key: &str| config.get(key).cloned().unwrap_or_default();
        (limit("limits.cpu"), limit("limits.cpu.allowance"), limit("limits.memory"))
    }

    #[test]
    fn sizes_become_limits() {
        let mut config: Config = [("limits.memory".to_owned(), "1GB".to_owned())].into();
        apply("c1.5-m4", &mut config).expect("valid");
        assert_eq!(
            (config["limits.cpu"].as_str(), config["limits.cpu.allowance"].as_str(), config["limits.memory"].as_str()),
            ("2", "75%", "1GB")
        );
        assert_eq!(limits("m0.2"), (String::new(), String::new(), "204MB".into()));
        for bad in ["", "c", "c-1", "cx", "c1-", "c1-x2", "cinf", "c0", "c9.huge"] {
            let error = apply(bad, &mut Config::new()).expect_err(bad).report();
            assert!(error.starts_with("Bad instance type: ") && error.contains("c2-m4"), "{bad}: {error}");
        }
    }

    #[test]
    fn sizes_of_clouds() {
        let whole = |cpu: &str, memory: &str| (cpu.to_owned(), String::new(), memory.to_owned());
        assert_eq!(limits("t2.micro"), whole("1", "1024MB"));
        assert_eq!(limits("aws:t2.micro"), whole("1", "1024MB"));
        assert_eq!(limits("c4.large"), whole("2", "3840MB"), "it begins as the other form does");
        assert_eq!(limits("azure:A5"), whole("2", "14336MB"));
        assert_eq!(limits("gce:n1-standard-1"), whole("1", "3840MB"));
        assert_eq!(limits("f1-micro"), ("1".into(), "20%".into(), "614MB".into()));
        for missing in ["t2.nope", "aws:c2-m4", "aws:", "gce:t2.micro", "nowhere:t2.micro", "x"] {
            let error = apply(missing, &mut Config::new()).expect_err(missing).report();
            assert!(error.starts_with(&format!("Provided instance type doesn't exist: {missing} (")) && error.contains("c2-m4"), "{error}");
        }
    }

    #[test]
    fn a_name_that_two_clouds_have() {
        let size = |cloud| Size { cloud, name: "small", cpu: 1.0, memory_gib: 1.0 };
        let sizes = [size("one"), size("two")];
        let error = find("small", &sizes).expect_err("ambiguous").report();
        assert_eq!(error, "Ambiguous instance type provided: small (say one:small or two:small)");
        assert_eq!(find("two:small", &sizes).expect("found").map(|size| size.cloud), Some("two"));
    }

    #[test]
    fn the_table_is_sound() {
        for (index, size) in clouds::SIZES.iter().enumerate() {
            assert!(size.cpu > 0.0 && size.memory_gib > 0.0, "{}", size.name);
            let others = &clouds::SIZES[index + 1..];
            assert!(!others.iter().any(|other| (other.cloud, other.name) == (size.cloud, size.name)), "{} is there twice", size.name);
        }
    }
}
