//! `lxc config trust`: who a server trusts.

use api::certificates::Certificate;
use client::path;

commands! {
    /// Manage trusted clients
    group Trust {
        add => Add,
        list => List,
        remove => Remove,
        show => Show,
    }
}

/// The URL of a certificate.
fn url(fingerprint: &str) -> String {
    path(&["certificates", fingerprint])
}

/// What a server's certificate says of itself; nothing if it cannot be read.
fn parsed(certificate: &Certificate) -> Option<pki::Certificate> {
    pki::Certificate::from_pem(&certificate.certificate).ok()
}
