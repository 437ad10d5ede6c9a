//! Keys of the server itself.

use crate::row::keys;
use crate::types::{Compression, Count, Expiry, Line, ListenAddress, Secret, Text};
use crate::{Config, KeyError, Refused, Table};

keys! { ROWS;
    /// How backups are compressed.
    BACKUPS_COMPRESSION_ALGORITHM: Compression = "backups.compression_algorithm", "gzip", Event;
    /// Address for clients on the network (port 8443 unless given); unset for none.
    CORE_HTTPS_ADDRESS: ListenAddress = "core.https_address", "", Now;
    /// Value of the CORS header Access-Control-Allow-Credentials.
    CORE_HTTPS_ALLOWED_CREDENTIALS: bool = "core.https_allowed_credentials", "", Now;
    /// Value of the CORS header Access-Control-Allow-Headers.
    CORE_HTTPS_ALLOWED_HEADERS: Line = "core.https_allowed_headers", "", Now;
    /// Value of the CORS header Access-Control-Allow-Methods.
    CORE_HTTPS_ALLOWED_METHODS: Line = "core.https_allowed_methods", "", Now;
    /// Value of the CORS header Access-Control-Allow-Origin.
    CORE_HTTPS_ALLOWED_ORIGIN: Line = "core.https_allowed_origin", "", Now;
    /// Proxy for HTTP; unset for that of the environment.
    CORE_PROXY_HTTP: Line = "core.proxy_http", "", Now;
    /// Proxy for HTTPS; unset for that of the environment.
    CORE_PROXY_HTTPS: Line = "core.proxy_https", "", Now;
    /// Hosts that are reached without the proxy.
    CORE_PROXY_IGNORE_HOSTS: Line = "core.proxy_ignore_hosts", "", Now;
    /// How long a token for adding a client can be used; unset for as long as the daemon runs.
    CORE_REMOTE_TOKEN_EXPIRY: Expiry = "core.remote_token_expiry", "", Event;
    /// Minutes to wait for running operations when the daemon is asked to shut down.
    CORE_SHUTDOWN_TIMEOUT: Count = "core.shutdown_timeout", "5", Event;
    /// Password with which a client can make itself trusted; stored hashed.
    CORE_TRUST_PASSWORD: Secret = "core.trust_password", "", Now;
    /// Whether images downloaded on demand are kept up to date.
    IMAGES_AUTO_UPDATE_CACHED: bool = "images.auto_update_cached", "true", Event;
    /// Hours between checks for newer images; 0 for never.
    IMAGES_AUTO_UPDATE_INTERVAL: Count = "images.auto_update_interval", "6", Now;
    /// How published images are compressed.
    IMAGES_COMPRESSION_ALGORITHM: Compression = "images.compression_algorithm", "gzip", Event;
    /// Days after which an unused cached image is deleted.
    IMAGES_REMOTE_CACHE_EXPIRY: Count = "images.remote_cache_expiry", "10", Now;
    /// Free for your own use.
    USER: Text = "user.*", "", Event;
}

static REFUSED: &[Refused] = &[
    Refused { name: "cluster.*", reason: "this server is not part of a cluster" },
    Refused { name: "maas.*", reason: "MAAS is not supported" },
    Refused { name: "storage.*", reason: "storage is configured per pool; see `lxc storage create`" },
];

/// All keys of the server.
pub static TABLE: Table = Table { unknown: "Bad server config key", rows: ROWS, refused: REFUSED };

/// Checks the configuration of the server.
pub fn validate(config: &Config) -> Result<(), KeyError> {
    config.iter().try_for_each(|(key, value)| check(key, value))
}

/// Checks one key of the server.
pub fn check(key: &str, value: &str) -> Result<(), KeyError> {
    match TABLE.check(key, value) {
        // The original puts the key in quotes here.
        Err(KeyError::Unknown { label, key, near }) => Err(KeyError::Unknown { label, key: format!("'{key}'"), near }),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(check("core.https_address", "[::]:8443"), Ok(()));
        assert_eq!(check("nope", "1").expect_err("unknown").to_string(), "Bad server config key: 'nope'");
        assert!(check("images.compression_algorithm", "gzip -9").is_err());
        assert!(check("storage.zfs_pool_name", "tank").expect_err("refused").to_string().contains("lxc storage"));
        assert!(TABLE.row("core.trust_password").is_some_and(crate::Row::is_secret));
    }
}
