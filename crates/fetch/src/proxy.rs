//! Which requests go through a proxy.

use std::net::IpAddr;

use ipnet::IpNet;

/// Proxies as configured. Where all three are empty, those of the environment hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Address of a proxy; also for HTTPS where there is none of its own.
    pub http: String,
    /// Address of the proxy for HTTPS.
    pub https: String,
    /// Hosts that are reached directly: names, domains, addresses, networks, separated by commas; `*` is all.
    pub ignore_hosts: String,
}

impl Proxies {
    /// Each setting that is empty is taken from the environment: `http_proxy`, `https_proxy`, `no_proxy`
    /// in either case.
    #[must_use]
    pub fn or_environment(self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let or = |own: String, name: &str| {
            if own.is_empty() { variable(&name.to_uppercase()).or_else(|| variable(name)).unwrap_or_default() } else { own }
        };
        Self { http: or(self.http, "http_proxy"), https: or(self.https, "https_proxy"), ignore_hosts: or(self.ignore_hosts, "no_proxy") }
    }

    /// The address of the proxy for a host, without brackets; `None` to go there directly.
    pub(crate) fn for_host(&self, host: &str) -> Option<&str> {
        let proxy = if self.https.is_empty() { &self.http } else { &self.https };
        (!proxy.is_empty() && !is_local(host) && !self.is_ignored(host)).then_some(proxy)
    }

    fn is_ignored(&self, host: &str) -> bool {
        self.ignore_hosts.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| fits(entry, host))
    }
}

/// A proxy has another idea of what this host is.
fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn fits(entry: &str, host: &str) -> bool {
    if entry == "*" {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        let entry = entry.trim_start_matches('[').trim_end_matches(']');
        return entry.parse::<IpAddr>() == Ok(address) || entry.parse::<IpNet>().is_ok_and(|net| net.contains(&address));
    }
    let (entry, host) = (entry.to_ascii_lowercase(), host.to_ascii_lowercase());
    let domain = entry.trim_start_matches('*').trim_start_matches('.');
    let is_below = host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    // `.example.com` is what is below it, `example.com` is also itself.
    is_below || (!entry.starts_with(['.', '*']) && host == domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_reached_directly() {
        let proxies = |ignore: &str| Proxies { https: "http://p:3128".into(), ignore_hosts: ignore.into(), ..Proxies::default() };
        let is_direct = |ignore: &str, host: &str| proxies(ignore).for_host(host).is_none();
        for (ignore, host) in [
            ("example.com", "example.com"),
            ("example.com", "a.Example.com"),
            (".example.com", "a.example.com"),
            ("*.example.com", "a.example.com"),
            ("x, 10.0.0.0/8", "10.1.2.3"),
            ("fd42::/16", "fd42::1"),
            ("192.0.2.1", "192.0.2.1"),
            ("*", "example.org"),
            ("", "localhost"),
            ("", "127.0.0.1"),
            ("", "::1"),
        ] {
            assert!(is_direct(ignore, host), "{ignore} {host}");
        }
        for (ignore, host) in [
            ("example.com", "badexample.com"),
            (".example.com", "example.com"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10", "10.0.0.1"),
            ("", "example.com"),
            (",", "example.com"),
        ] {
            assert!(!is_direct(ignore, host), "{ignore} {host}");
        }
    }

    #[test]
    fn own_settings_come_before_the_environment() {
        let variable = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://upper:1".to_owned()),
            "no_proxy" => Some("a".to_owned()),
            _ => None,
        };
        let proxies = Proxies::default().or_environment(variable);
        assert_eq!(proxies, Proxies { http: String::new(), https: "http://upper:1".into(), ignore_hosts: "a".into() });
        let own = Proxies { https: "http://own:1".into(), ..Proxies::default() }.or_environment(variable);
        assert_eq!(own.for_host("b"), Some("http://own:1"));
        let only_http = Proxies { http: "http://h:1".into(), ..Proxies::default() };
        assert_eq!(only_http.for_host("b"), Some("http://h:1"));
    }
}
