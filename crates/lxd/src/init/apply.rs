//! Makes a [`Preseed`] true over the API, and takes back what was done when a step fails.

use anyhow::{Context, Result, ensure};
use api::networks::NetworkPut;
use api::profiles::ProfilePut;
use api::server::{Server, ServerPut};
use api::storage_pools::{StoragePool, StoragePoolPut};
use client::{Client, Method, path};
use serde::Serialize;
use serde_json::{Map, Value};

use super::preseed::{Network, Pool, Preseed, Profile};

/// How a step is taken back.
struct Undo {
    what: String,
    method: Method,
    path: String,
    body: Option<Value>,
}

/// The work and what was done so far.
struct Work<'a> {
    client: &'a Client,
    undo: Vec<Undo>,
}

/// Makes all of it true; on an error what was done is taken back, latest first.
pub async fn apply(client: &Client, wanted: &Preseed) -> Result<()> {
    let mut work = Work { client, undo: Vec::new() };
    let done = work.all(wanted).await;
    if done.is_err() {
        work.take_back().await;
    }
    done
}

impl Work<'_> {
    async fn all(&mut self, wanted: &Preseed) -> Result<()> {
        self.server(wanted).await.context("Failed to update the server configuration")?;
        for network in &wanted.networks {
            self.network(network).await.with_context(|| format!("Failed to set up network {:?}", network.name))?;
        }
        for pool in &wanted.storage_pools {
            self.pool(pool).await.with_context(|| format!("Failed to set up storage pool {:?}", pool.name))?;
        }
        for profile in &wanted.profiles {
            self.profile(profile).await.with_context(|| format!("Failed to set up profile {:?}", profile.name))?;
        }
        Ok(())
    }

    async fn server(&mut self, wanted: &Preseed) -> Result<()> {
        if wanted.config.is_empty() {
            return Ok(());
        }
        let server: Server = self.client.get("/1.0").await?;
        let before = server.config.unwrap_or_default();
        let old = |key: &String| (key.clone(), before.get(key).cloned().unwrap_or(Value::Null));
        // A secret is shown as `true`: it cannot be put back, only left as it became.
        let is_secret = |key: &str| keys::server::TABLE.row(key).is_some_and(keys::Row::is_secret);
        let restore: Map<String, Value> = wanted.config.keys().filter(|key| !is_secret(key)).map(old).collect();
        let new = wanted.config.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
        self.change(Method::PATCH, "/1.0", &ServerPut { config: new }).await?;
        self.later("the server configuration", Method::PATCH, "/1.0", Some(&ServerPut { config: restore }))
    }

    async fn network(&mut self, wanted: &Network) -> Result<()> {
        let url = path(&["networks", &wanted.name]);
        let what = format!("network {}", wanted.name);
        let current: Option<api::networks::Network> = self.find(&url).await?;
        let Some(current) = current.filter(|network| network.managed) else {
            self.change(Method::POST, "/1.0/networks", &wanted.to_post()).await?;
            return self.later(&what, Method::DELETE, &url, None::<&()>);
        };
        let before = NetworkPut { description: current.description, config: current.config };
        let mut after = before.clone();
        overlay(&mut after.description, &wanted.description);
        // `auto` asks for any address: the one that was chosen before will do.
        let is_chosen = |key: &str, value: &str| value == "auto" && before.config.get(key).is_some_and(|old| old != "none");
        let changed = wanted.config.iter().filter(|(key, value)| !is_chosen(key, value));
        after.config.extend(changed.map(|(key, value)| (key.clone(), value.clone())));
        self.replace(&what, &url, &before, &after).await
    }

    async fn pool(&mut self, wanted: &Pool) -> Result<()> {
        let url = path(&["storage-pools", &wanted.name]);
        let what = format!("storage pool {}", wanted.name);
        let current: Option<StoragePool> = self.find(&url).await?;
        let Some(current) = current else {
            self.change(Method::POST, "/1.0/storage-pools", &wanted.to_post()).await?;
            return self.later(&what, Method::DELETE, &url, None::<&()>);
        };
        ensure!(current.driver == wanted.driver, "it exists with the driver {} instead of {}", current.driver, wanted.driver);
        let before = StoragePoolPut { description: current.description, config: current.config };
        let mut after = before.clone();
        overlay(&mut after.description, &wanted.description);
        let changed = wanted.config.iter().filter(|(key, value)| !is_same_pool_value(key, value, &before.config));
        after.config.extend(changed.map(|(key, value)| (key.clone(), value.clone())));
        self.replace(&what, &url, &before, &after).await
    }

    async fn profile(&mut self, wanted: &Profile) -> Result<()> {
        let url = path(&["profiles", &wanted.name]);
        let what = format!("profile {}", wanted.name);
        let current: Option<api::profiles::Profile> = self.find(&url).await?;
        let Some(current) = current else {
            let put = wanted.merged_into(ProfilePut::default());
            let new = api::profiles::Profile {
                name: wanted.name.clone(),
                description: put.description,
                config: put.config,
                devices: put.devices,
                used_by: vec![],
            };
            self.change(Method::POST, "/1.0/profiles", &new).await?;
            return self.later(&what, Method::DELETE, &url, None::<&()>);
        };
        let before = ProfilePut { description: current.description, config: current.config, devices: current.devices };
        let after = wanted.merged_into(before.clone());
        self.replace(&what, &url, &before, &after).await
    }

    /// Replaces a resource if that changes anything.
    async fn replace<T: Serialize>(&mut self, what: &str, url: &str, before: &T, after: &T) -> Result<()> {
        let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(after)?);
        if before == after {
            return Ok(());
        }
        self.change(Method::PUT, url, &after).await?;
        self.later(what, Method::PUT, url, Some(&before))
    }

    async fn find<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<Option<T>> {
        match self.client.get(url).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn change(&self, method: Method, url: &str, body: &impl Serialize) -> Result<()> {
        self.request(method, url, Some(&serde_json::to_value(body)?)).await
    }

    async fn request(&self, method: Method, url: &str, body: Option<&Value>) -> Result<()> {
        let reply = self.client.request_json(method, url, body).await?;
        self.client.wait(&reply).await?;
        Ok(())
    }

    fn later(&mut self, what: &str, method: Method, url: &str, body: Option<&impl Serialize>) -> Result<()> {
        let body = body.map(serde_json::to_value).transpose()?;
        self.undo.push(Undo { what: what.to_owned(), method, path: url.to_owned(), body });
        Ok(())
    }

    async fn take_back(&mut self) {
        while let Some(undo) = self.undo.pop() {
            // The first error is what the user must see; this one is only added to it.
            if let Err(error) = self.request(undo.method, &undo.path, undo.body.as_ref()).await {
                eprintln!("warning: taking back {} failed: {error:#}", undo.what);
            }
        }
    }
}

/// Whether a pool has a value already, though the server may write it differently: the source it
/// was made with, a size in other units.
fn is_same_pool_value(key: &str, value: &str, current: &api::Config) -> bool {
    let size = |text: &str| keys::values::parse_size(text).ok();
    match (key, current.get(key)) {
        (_, Some(now)) if now == value => true,
        ("size", Some(now)) => size(now).is_some() && size(now) == size(value),
        ("source", _) => current.get("volatile.initial_source").is_some_and(|given| given == value),
        _ => false,
    }
}

fn overlay(text: &mut String, wanted: &str) {
    if !wanted.is_empty() {
        wanted.clone_into(text);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::{Arc, Mutex};

    use super::*;

    type Requests = Arc<Mutex<Vec<String>>>;

    /// A server that notes requests and answers by `answer`: status and metadata.
    fn serve(socket: &std::path::Path, answer: fn(&str) -> (u16, Value)) -> Requests {
        let listener = UnixListener::bind(socket).expect("listen");
        let requests = Requests::default();
        let noted = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, noted) = (stream.expect("connection"), Arc::clone(&noted));
                std::thread::spawn(move || connection(&stream, answer, &noted));
            }
        });
        requests
    }

    fn connection(stream: &UnixStream, answer: fn(&str) -> (u16, Value), noted: &Requests) {
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                match line.trim() {
                    "" => break,
                    line => head.push(line.to_ascii_lowercase()),
                }
            }
            let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().expect("length"));
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("body");
            let request = head[0].trim_end_matches(" http/1.1").to_owned();
            let (status, metadata) = answer(&request);
            if !request.starts_with("get") {
                noted.lock().expect("lock").push(format!("{request} {}", String::from_utf8_lossy(&body)));
            }
            let kind = if status < 400 { "sync" } else { "error" };
            let reply = serde_json::json!({ "type": kind, "error": "no luck", "error_code": status, "metadata": metadata }).to_string();
            let mut out = stream;
            write!(out, "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{reply}", reply.len())
                .expect("reply");
        }
    }

    fn run(answer: fn(&str) -> (u16, Value), preseed: &str) -> (Result<()>, Vec<String>) {
        let dir = tempfile::tempdir().expect("directory");
        let socket = dir.path().join("socket");
        let requests = serve(&socket, answer);
        let wanted = Preseed::parse(preseed).expect("preseed");
        let done = crate::client_runtime().expect("runtime").block_on(async {
            let client = Client::connect_unix(socket).await.expect("connect");
            apply(&client, &wanted).await
        });
        let requests = requests.lock().expect("lock").clone();
        (done, requests)
    }

    const PRESEED: &str = "
config: {images.remote_cache_expiry: 5}
networks: [{name: br0, config: {ipv4.address: auto}}]
storage_pools: [{name: default, driver: dir}]
profiles: [{name: default, devices: {root: {type: disk, path: /, pool: default}}}]
";

    #[test]
    fn a_failure_takes_back_what_was_done_latest_first() {
        let (done, requests) = run(
            |request| match request {
                "get /1.0" => (
                    200,
                    serde_json::json!({ "api_extensions": [], "api_status": "", "api_version": "", "auth": "", "public": false, "config": {} }),
                ),
                "get /1.0/profiles/default" => (200, serde_json::json!({ "name": "default", "description": "old" })),
                "put /1.0/profiles/default" => (400, Value::Null),
                get if get.starts_with("get") => (404, Value::Null),
                _ => (200, Value::Null),
            },
            PRESEED,
        );
        assert_eq!(format!("{:#}", done.expect_err("refused")), "Failed to set up profile \"default\": no luck");
        let calls: Vec<&str> = requests.iter().map(|request| request.split(" {").next().unwrap_or_default().trim()).collect();
        assert_eq!(
            calls,
            [
                "patch /1.0",
                "post /1.0/networks",
                "post /1.0/storage-pools",
                "put /1.0/profiles/default",
                "delete /1.0/storage-pools/default",
                "delete /1.0/networks/br0",
                "patch /1.0",
            ]
        );
        assert!(requests[6].contains(r#""images.remote_cache_expiry":null"#), "{}", requests[6]);
    }

    #[test]
    fn applying_again_changes_nothing() {
        let (done, requests) = run(
            |request| match request {
                "get /1.0/networks/br0" => (
                    200,
                    serde_json::json!({ "name": "br0", "type": "bridge", "managed": true, "config": { "ipv4.address": "10.0.0.1/24" } }),
                ),
                "get /1.0/storage-pools/default" => {
                    (200, serde_json::json!({ "name": "default", "driver": "dir", "config": { "source": "/x" } }))
                }
                "get /1.0/profiles/default" => (
                    200,
                    serde_json::json!({ "name": "default", "devices": { "root": { "type": "disk", "path": "/", "pool": "default" } } }),
                ),
                _ => (404, Value::Null),
            },
            "
networks: [{name: br0, config: {ipv4.address: auto}}]
storage_pools: [{name: default, driver: dir}]
profiles: [{name: default, devices: {root: {type: disk, path: /, pool: default}}}]
",
        );
        done.expect("nothing to do");
        // `auto` asks for any address, and there is one.
        assert_eq!(requests, Vec::<String>::new());
    }

    #[test]
    fn pool_values_are_compared_by_meaning() {
        let current = [("size", "15GB"), ("source", "/dev/loop0"), ("volatile.initial_source", "/dev/sdb")];
        let current = current.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert!(is_same_pool_value("size", "15GiB", &current) && !is_same_pool_value("size", "16GiB", &current));
        assert!(is_same_pool_value("source", "/dev/sdb", &current) && !is_same_pool_value("source", "/dev/sdc", &current));
        assert!(!is_same_pool_value("user.a", "", &current));
    }

    #[test]
    fn a_pool_of_another_driver_is_not_touched() {
        let (done, requests) = run(
            |request| match request {
                "get /1.0/storage-pools/default" => (200, serde_json::json!({ "name": "default", "driver": "btrfs" })),
                _ => (404, Value::Null),
            },
            "storage_pools: [{name: default, driver: dir}]",
        );
        assert!(format!("{:#}", done.expect_err("refused")).contains("driver btrfs instead of dir"));
        assert!(requests.is_empty());
    }
}
