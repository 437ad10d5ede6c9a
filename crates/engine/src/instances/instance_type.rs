//! `instance_type`: sizes such as `c2-m4` turned into limits, where none are set.

use api::Config;
use keys::instance::{LIMITS_CPU, LIMITS_CPU_ALLOWANCE, LIMITS_MEMORY};

use crate::{Error, Result};

/// Fills `limits.cpu`, `limits.cpu.allowance` and `limits.memory` from `cN`, `mN` or `cN-mN`.
/// Names of cloud vendors' sizes are not known here.
pub(crate) fn apply(text: &str, config: &mut Config) -> Result<()> {
    let bad = || Error::bad_request(format!("Bad instance type: {text}")).hint("it has the form cCPUS-mGIB, as in c2-m4");
    for part in text.split('-') {
        let kind = part.chars().next().ok_or_else(bad)?;
        let number: f64 =
            part.get(1..).and_then(|digits| digits.parse().ok()).filter(|number| *number > 0.0 && *number < 1e6).ok_or_else(bad)?;
        match kind {
            'c' => {
                let whole = number.ceil();
                let percent = (number / whole * 100.0) as u32;
                config.entry(LIMITS_CPU.name.to_owned()).or_insert_with(|| format!("{whole}"));
                if percent < 100 {
                    config.entry(LIMITS_CPU_ALLOWANCE.name.to_owned()).or_insert_with(|| format!("{percent}%"));
                }
            }
            'm' => {
                config.entry(LIMITS_MEMORY.name.to_owned()).or_insert_with(|| format!("{}MB", (number * 1024.0) as u64));
            }
            _ => {
                return Err(Error::bad_request(format!("Provided instance type doesn't exist: {text}"))
                    .hint("use the form cCPUS-mGIB, as in c2-m4"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_become_limits() {
        let mut config: Config = [("limits.memory".to_owned(), "1GB".to_owned())].into();
        apply("c1.5-m4", &mut config).expect("valid");
        assert_eq!(
            (config["limits.cpu"].as_str(), config["limits.cpu.allowance"].as_str(), config["limits.memory"].as_str()),
            ("2", "75%", "1GB")
        );
        let mut config = Config::new();
        apply("m0.2", &mut config).expect("valid");
        assert_eq!(config["limits.memory"], "204MB");
        for bad in ["", "c", "c-1", "cx", "t2.micro", "c1-"] {
            assert!(apply(bad, &mut Config::new()).is_err(), "{bad}");
        }
    }
}
