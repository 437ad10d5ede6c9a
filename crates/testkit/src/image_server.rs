//! A server of images for tests: simplestreams over HTTPS, made from our own busybox image.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Sandbox, wait_until};

/// The program, which also says how it can misbehave.
const PROGRAM: &str = include_str!("image_server.py");

/// The settings of its certificate: for this host, and no authority.
const CERTIFICATE: &str = "[req]\ndistinguished_name=name\nx509_extensions=extensions\nprompt=no\n[name]\nCN=image server\n\
    [extensions]\nbasicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n";

/// A server that runs in a sandbox until that ends.
#[derive(Debug)]
pub struct ImageServer<'a> {
    sandbox: &'a Sandbox,
    dir: PathBuf,
    /// Its address.
    pub url: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// Address of a proxy through which every host is this one.
    pub proxy: String,
}

impl<'a> ImageServer<'a> {
    /// Starts one, which has no images yet. The image `busybox` must be there: its files are what is published.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(sandbox: &'a Sandbox) -> Self {
        let dir = sandbox.dir().join("images");
        fs::create_dir_all(dir.join("tree/streams/v1")).expect("make the server's directory");
        fs::write(dir.join("image_server.py"), PROGRAM).expect("write the server");
        fs::write(dir.join("openssl.cnf"), CERTIFICATE).expect("write the certificate's settings");
        let shown = dir.display();
        sandbox.sh_ok(&format!(
            "cd {shown} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -config openssl.cnf \
                 -keyout server.key -out server.crt 2>&1 &&
             mkdir x root && lxc image export busybox x && tar -C root -xf x/* && rm -r x &&
             setsid -f python3 image_server.py {shown} < /dev/null >> errors 2>&1"
        ));
        let errors = || fs::read_to_string(dir.join("errors")).unwrap_or_default();
        wait_until(&format!("the image server: {}", errors()), Duration::from_secs(20), || dir.join("port").exists());
        let port = fs::read_to_string(dir.join("port")).expect("the server's port");
        let proxy = fs::read_to_string(dir.join("proxy")).expect("the proxy's port");
        let certificate = fs::read_to_string(dir.join("server.crt")).expect("the server's certificate");
        // From here on it is part of what is there.
        sandbox.mark();
        let server =
            Self { sandbox, url: format!("https://127.0.0.1:{port}"), certificate, proxy: format!("http://127.0.0.1:{proxy}"), dir };
        server.write_products(&json!({}));
        server
    }

    /// The certificate's file, also inside the sandbox.
    pub fn certificate_file(&self) -> PathBuf {
        self.dir.join("server.crt")
    }

    /// Adds a version of the product `bb` (aliases `bb` and `bb/edge`), in which `/version` holds the serial.
    /// Serials begin with eight digits. Returns the fingerprint.
    ///
    /// # Panics
    /// When the image cannot be made.
    pub fn publish(&self, serial: &str) -> String {
        let shown = self.dir.display();
        let sums = self.sandbox.sh_ok(&format!(
            "cd {shown} && echo {serial} > root/rootfs/version && mkdir -p tree/bb/{serial} &&
             tar -C root -cJf tree/bb/{serial}/lxd.tar.xz metadata.yaml $(cd root && ls -d templates 2> /dev/null) &&
             mksquashfs root/rootfs tree/bb/{serial}/rootfs.squashfs -quiet -no-progress > /dev/null &&
             cd tree/bb/{serial} && sha256sum < lxd.tar.xz && sha256sum < rootfs.squashfs && cat lxd.tar.xz rootfs.squashfs | sha256sum &&
             stat -c %s lxd.tar.xz rootfs.squashfs"
        ));
        let facts: Vec<&str> = sums.lines().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
        let [metadata, rootfs, both, metadata_size, rootfs_size] = facts[..] else { panic!("sums of the image: {sums}") };
        let size = |text: &str| text.parse::<u64>().expect("a size");
        let item = |ftype: &str, name: &str, sha256: &str, size: u64| json!({ "ftype": ftype, "path": format!("bb/{serial}/{name}"), "sha256": sha256, "size": size });
        let mut first = item("lxd.tar.xz", "lxd.tar.xz", metadata, size(metadata_size));
        first["combined_squashfs_sha256"] = json!(both);
        let items = json!({ "lxd.tar.xz": first, "squashfs": item("squashfs", "rootfs.squashfs", rootfs, size(rootfs_size)) });
        self.edit_products(|products| products["bb"]["versions"][serial] = json!({ "label": "test", "items": items }));
        both.to_owned()
    }

    /// The source of an instance or image on this server, as requests name it.
    pub fn source(&self, name: &str) -> Value {
        json!({ "type": "image", "mode": "pull", "server": self.url, "protocol": "simplestreams", "alias": name,
            "certificate": self.certificate })
    }

    /// Changes what the server says of its products.
    ///
    /// # Panics
    /// When the list is not there.
    pub fn edit_products(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read(self.path("streams/v1/images.json")).expect("the list of products");
        let mut list: Value = serde_json::from_slice(&text).expect("JSON");
        change(&mut list["products"]);
        self.write_products(&list["products"]);
    }

    fn write_products(&self, products: &Value) {
        let mut products = products.clone();
        let product = json!({ "aliases": "bb,bb/edge", "arch": architecture(), "os": "Busybox", "release": "test",
            "release_title": "test", "version": "1" });
        for (key, value) in product.as_object().expect("an object") {
            if products["bb"][key].is_null() {
                products["bb"][key] = value.clone();
            }
        }
        let index = json!({ "format": "index:1.0", "index": { "images": {
            "datatype": "image-downloads", "path": "streams/v1/images.json", "products": ["bb"] } } });
        self.write("streams/v1/index.json", &index.to_string());
        self.write("streams/v1/images.json", &json!({ "format": "products:1.0", "products": products }).to_string());
    }

    /// Writes a file that is served.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, content: &str) {
        fs::write(self.path(path), content).expect("write a file of the server");
    }

    /// Where a file that is served is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.join("tree").join(Path::new(path))
    }

    /// How it is to behave from now on, as the program describes; empty for well.
    ///
    /// # Panics
    /// When that cannot be written.
    pub fn behave(&self, mood: &str) {
        fs::write(self.dir.join("mood"), mood).expect("write the server's mood");
    }

    /// How often something was asked for whose path contains `part`.
    pub fn requests(&self, part: &str) -> usize {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(part)).count()
    }
}

/// This machine's architecture as streams call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
