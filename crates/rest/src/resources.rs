//! The resources, one file each: a table of endpoints and the handlers it names.

mod certificates;
mod events;
mod hardware;
mod images;
mod images_aliases;
mod instance_backups;
mod instance_console;
mod instance_exec;
mod instance_files;
mod instance_logs;
mod instance_metadata;
mod instance_state;
mod instances;
mod internal;
mod networks;
mod operations;
mod profiles;
mod server;
mod snapshots;
mod storage_pools;
mod storage_volumes;
mod volume_backups;
mod warnings;

use crate::endpoint::Endpoint;
pub(crate) use images::export_reply;

/// Every endpoint of the server.
pub static ENDPOINTS: &[&[Endpoint]] = &[
    server::ENDPOINTS,
    certificates::ENDPOINTS,
    events::ENDPOINTS,
    hardware::ENDPOINTS,
    images::ENDPOINTS,
    images_aliases::ENDPOINTS,
    instances::ENDPOINTS,
    instance_backups::ENDPOINTS,
    instance_console::ENDPOINTS,
    instance_exec::ENDPOINTS,
    instance_files::ENDPOINTS,
    instance_logs::ENDPOINTS,
    instance_metadata::ENDPOINTS,
    instance_state::ENDPOINTS,
    internal::ENDPOINTS,
    networks::ENDPOINTS,
    operations::ENDPOINTS,
    profiles::ENDPOINTS,
    snapshots::ENDPOINTS,
    storage_pools::ENDPOINTS,
    storage_volumes::ENDPOINTS,
    volume_backups::ENDPOINTS,
    warnings::ENDPOINTS,
];

/// The list of URLs that a collection shows without recursion.
fn urls(collection: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
    names.into_iter().map(|name| format!("{collection}/{}", url_component(&name))).collect()
}

/// A name as one component of a URL path.
fn url_component(name: &str) -> String {
    use std::fmt::Write;
    name.bytes().fold(String::with_capacity(name.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:@+".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_component() {
        let urls = urls("/1.0/images/aliases", ["debian/12".to_owned(), "a b".to_owned()]);
        assert_eq!(urls, ["/1.0/images/aliases/debian%2F12", "/1.0/images/aliases/a%20b"]);
    }
}
