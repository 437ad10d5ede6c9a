//! Keys of profiles: those of instances without `volatile.*`.

use crate::{Config, Devices, KeyError, devices, instance};

/// Checks the configuration of a profile.
pub fn validate(config: &Config) -> Result<(), KeyError> {
    if config.keys().any(|key| key.starts_with("volatile.")) {
        return Err(KeyError::other("Volatile keys can only be set on containers."));
    }
    instance::validate(config)
}

/// Checks the devices of a profile.
pub fn validate_devices(devices: &Devices) -> Result<(), KeyError> {
    devices::validate_devices(devices, devices::Scope::Profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volatile_keys_stay_on_instances() {
        let config = Config::from([("volatile.base_image".to_owned(), "x".to_owned())]);
        assert_eq!(validate(&config).expect_err("volatile").to_string(), "Volatile keys can only be set on containers.");
        assert!(instance::validate(&config).is_ok());
    }
}
