//! The images of a stream and the names they go by.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use api::Timestamp;
use api::images::{Image, ImageAlias};

use crate::build::{Build, Item, MAX_IMAGES, cut, date};
use crate::path::INDEX;
use crate::wire::{Product, product_files, products};
use crate::{Error, Result};

/// The largest index that is read.
const MAX_INDEX_BYTES: u64 = 4 << 20;
/// The largest file of products that is read; the largest known ones have 10 MB.
const MAX_PRODUCTS_BYTES: u64 = 32 << 20;
/// The most that all files of products together may have.
const MAX_ALL_PRODUCTS_BYTES: usize = 128 << 20;
/// How many aliases of a product are looked at.
const MAX_ALIASES: usize = 64;
/// Longer aliases are none.
const MAX_ALIAS_BYTES: usize = 255;
/// The most text that is kept of all images.
const MAX_ALL_TEXT_BYTES: usize = 64 << 20;
/// Where aliases begin with the name of the distribution, which the server's name says already.
const UBUNTU: &str = "https://cloud-images.ubuntu.com";
/// How to read a stream.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The server's address.
    pub server: &'a str,
    /// The architecture that an alias without one means.
    pub architecture: &'a str,
    /// Architectures to leave all others out; none to keep all.
    pub only: &'a [&'a str],
}

/// An image of a stream.
#[derive(Clone, Debug)]
pub struct StreamImage {
    /// As the API shows it. The fingerprint is of both files.
    pub image: Image,
    /// `lxd.tar.xz`.
    pub metadata: Item,
    /// The root file system.
    pub rootfs: Item,
}

/// All images of a stream, sorted: by distribution and release, the newest first.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    images: Vec<StreamImage>,
    /// To positions in `images`.
    aliases: BTreeMap<String, usize>,
}

impl Catalogue {
    /// Reads the index and, one after the other, the files of products that it names. `fetch` gets a path below
    /// the server's address and how many bytes there may be at most.
    pub fn read<E: From<Error>>(
        reading: &Reading<'_>,
        mut fetch: impl FnMut(&str, u64) -> std::result::Result<Vec<u8>, E>,
    ) -> std::result::Result<Self, E> {
        let paths = product_files(&fetch(INDEX, MAX_INDEX_BYTES)?)?;
        let mut gathered = Gathered::default();
        for path in paths {
            gathered.add(&fetch(&path, MAX_PRODUCTS_BYTES)?, reading)?;
        }
        Ok(gathered.finish())
    }

    /// All images.
    pub fn images(&self) -> &[StreamImage] {
        &self.images
    }

    /// The fingerprint behind an alias.
    pub fn alias(&self, name: &str) -> Option<&str> {
        self.aliases.get(name).map(|position| self.images[*position].image.fingerprint.as_str())
    }

    /// Aliases with the fingerprints behind them, by name.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.aliases.iter().map(|(name, position)| (name.as_str(), self.images[*position].image.fingerprint.as_str()))
    }

    /// The image behind an alias or an unambiguous beginning of a fingerprint.
    pub fn find(&self, name: &str) -> Result<&StreamImage> {
        if let Some(position) = self.aliases.get(name) {
            return Ok(&self.images[*position]);
        }
        let prefix = name.to_ascii_lowercase();
        let mut fitting = self.images.iter().filter(|image| !prefix.is_empty() && image.image.fingerprint.starts_with(&prefix));
        let first = fitting.next().ok_or_else(|| Error::NotFound(name.chars().take(200).collect()))?;
        // The same image may be listed twice.
        if fitting.any(|other| other.image.fingerprint != first.image.fingerprint) {
            return Err(Error::Ambiguous(prefix));
        }
        Ok(first)
    }
}

fn order(image: &StreamImage) -> (&str, &str) {
    let property = |key: &str| image.image.properties.get(key).map_or("", String::as_str);
    (property("os"), property("release"))
}

fn serial(image: &StreamImage) -> &str {
    image.image.properties.get("serial").map_or("", String::as_str)
}

/// What was found so far.
#[derive(Default)]
struct Gathered {
    /// Images, each with the aliases it will have if it is the first to claim them.
    found: Vec<(Rc<[String]>, StreamImage)>,
    /// Of files.
    read_bytes: usize,
    /// Of what is kept.
    text_bytes: usize,
}

impl Gathered {
    /// Adds the images of a file of products.
    fn add(&mut self, file: &[u8], reading: &Reading<'_>) -> Result<()> {
        count(&mut self.read_bytes, file.len(), ("bytes of products", MAX_ALL_PRODUCTS_BYTES))?;
        products(file, |product| self.add_product(product, reading))
    }

    fn add_product(&mut self, mut product: Product, reading: &Reading<'_>) -> Result<()> {
        let Some(architecture) = architecture(&product.arch) else { return Ok(()) };
        if !reading.only.is_empty() && !reading.only.contains(&architecture) {
            return Ok(());
        }
        const TEXT: (&str, usize) = ("bytes of names and descriptions", MAX_ALL_TEXT_BYTES);
        let names: Rc<[String]> = names(&product, architecture, reading).into();
        count(&mut self.text_bytes, names.iter().map(String::len).sum(), TEXT)?;
        for build in std::mem::take(&mut product.builds) {
            let Some(image) = image_of(&product, architecture, build) else { continue };
            if self.found.len() >= MAX_IMAGES {
                return Err(Error::Limit { what: "images", limit: MAX_IMAGES });
            }
            let paths = image.metadata.path.len() + image.rootfs.path.len();
            count(&mut self.text_bytes, paths + image.image.properties.values().map(String::len).sum::<usize>(), TEXT)?;
            self.found.push((names.clone(), image));
        }
        Ok(())
    }

    fn finish(self) -> Catalogue {
        let mut found = self.found;
        found.sort_by(|(_, a), (_, b)| order(a).cmp(&order(b)).then_with(|| serial(b).cmp(serial(a))));
        let mut catalogue = Catalogue::default();
        for (names, mut image) in found {
            let position = catalogue.images.len();
            for name in names.iter() {
                if let Entry::Vacant(free) = catalogue.aliases.entry(name.clone()) {
                    image.image.aliases.push(ImageAlias { name: name.clone(), description: String::new() });
                    free.insert(position);
                }
            }
            catalogue.images.push(image);
        }
        catalogue
    }
}

/// Adds to a sum that has a limit.
fn count(sum: &mut usize, more: usize, (what, limit): (&'static str, usize)) -> Result<()> {
    *sum = sum.saturating_add(more);
    if *sum > limit { Err(Error::Limit { what, limit }) } else { Ok(()) }
}

/// The names of a product's newest image.
fn names(product: &Product, architecture: &str, reading: &Reading<'_>) -> Vec<String> {
    let mut names = Vec::new();
    let aliases = product.aliases.split(',').map(str::trim).filter(|alias| !alias.is_empty() && alias.len() <= MAX_ALIAS_BYTES);
    for alias in aliases.take(MAX_ALIASES) {
        let alias = if reading.server.starts_with(UBUNTU) { alias.strip_prefix("ubuntu/").unwrap_or(alias) } else { alias };
        if architecture == reading.architecture {
            names.push(alias.to_owned());
        }
        names.push(format!("{alias}/{}", product.arch));
    }
    names
}

fn image_of(product: &Product, architecture: &str, build: Build) -> Option<StreamImage> {
    let image = Image {
        architecture: architecture.to_owned(),
        created_at: build.created_at,
        uploaded_at: build.created_at,
        expires_at: product.support_eol.replace('-', "").get(..8).and_then(date).unwrap_or_else(|| Timestamp::from_unix(0)),
        filename: build.metadata.path.rsplit('/').next().unwrap_or_default().to_owned(),
        properties: properties(product, &build.serial, &build.label),
        public: true,
        size: build.size_bytes()?,
        kind: "container".to_owned(),
        fingerprint: build.fingerprint,
        ..Image::default()
    };
    Some(StreamImage { image, metadata: build.metadata, rootfs: build.rootfs })
}

fn properties(product: &Product, serial: &str, label: &str) -> api::Config {
    let (os, title) = (cut(&product.os), cut(&product.release_title));
    let shown_label = if label.is_empty() { String::new() } else { format!(" ({label})") };
    let description = format!("{os} {title} {}{shown_label} ({serial})", product.arch);
    let all = [
        ("architecture", product.arch.as_str()),
        ("description", cut(description.trim())),
        ("label", label),
        ("os", os),
        ("release", cut(&product.release)),
        ("serial", serial),
        ("version", cut(&product.version)),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The API's name of an architecture; streams use the names of Debian's packages.
fn architecture(name: &str) -> Option<&'static str> {
    const NAMES: &[(&str, &str)] = &[
        ("amd64", "x86_64"),
        ("arm64", "aarch64"),
        ("armel", "armv6l"),
        ("armhf", "armv7l"),
        ("i386", "i686"),
        ("loong64", "loongarch64"),
        ("powerpc", "ppc"),
        ("ppc64", "ppc64"),
        ("ppc64el", "ppc64le"),
        ("riscv64", "riscv64"),
        ("s390x", "s390x"),
    ];
    NAMES.iter().find(|(debian, ours)| name == *debian || name == *ours).map(|(_, ours)| *ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{HASH_DIGITS, MAX_TEXT_BYTES};

    fn hash(digit: &str) -> String {
        digit.repeat(HASH_DIGITS)
    }

    fn version(digit: &str, rootfs: &str) -> String {
        format!(
            r#"{{"label": "release", "pubname": "x", "items": {{
                "lxd.tar.xz": {{"ftype": "lxd.tar.xz", "path": "a/{digit}/lxd.tar.xz", "size": 10, "sha256": "{hash}",
                    "combined_squashfs_sha256": "{hash}", "combined_rootxz_sha256": "{other}", "combined_sha256": "{other}"}},
                "disk": {{"ftype": "disk-kvm.img", "path": "a/disk", "size": 1}},
                "r": {{"ftype": "{rootfs}", "path": "a/{digit}/rootfs", "size": 32, "sha256": "{hash}"}}}}}}"#,
            hash = hash(digit),
            other = hash("f"),
        )
    }

    fn products() -> Vec<u8> {
        let product = |aliases: &str, arch: &str, versions: &[(&str, String)]| {
            let versions: Vec<String> = versions.iter().map(|(serial, version)| format!("\"{serial}\": {version}")).collect();
            format!(
                r#"{{"aliases": "{aliases}", "arch": "{arch}", "os": "ubuntu", "release": "jammy", "release_title": "22.04 LTS",
                    "version": "22.04", "supported": true, "support_eol": "2032-04-21", "unknown": [1], "versions": {{{}}}}}"#,
                versions.join(",")
            )
        };
        let jammy =
            [("20240101", version("1", "squashfs")), ("20240202.1", version("2", "squashfs")), ("latest", version("3", "squashfs"))];
        let all = [
            ("a", product("22.04, jammy,j,default", "amd64", &jammy)),
            ("b", product("22.04,jammy", "arm64", &[("20240303", version("4", "root.tar.xz"))])),
            ("c", product("odd", "pdp11", &[("20240303", version("5", "squashfs"))])),
            ("d", product("vm", "amd64", &[("20240303", version("6", "disk-kvm.img"))])),
        ];
        let all: Vec<String> = all.iter().map(|(id, product)| format!("\"{id}\": {product}")).collect();
        format!(r#"{{"datatype": "image-downloads", "format": "products:1.0", "products": {{{}}}}}"#, all.join(",")).into_bytes()
    }

    const ANY: Reading<'_> = Reading { server: "https://x", architecture: "x86_64", only: &[] };

    fn parse_one(file: &[u8], reading: &Reading<'_>) -> Result<Catalogue> {
        let mut gathered = Gathered::default();
        gathered.add(file, reading)?;
        Ok(gathered.finish())
    }

    fn read(only: &[&str]) -> Catalogue {
        parse_one(&products(), &Reading { only, ..ANY }).expect("catalogue")
    }

    /// Products with aliases and a title, each with versions of the same image.
    fn many(products: usize, versions: usize, aliases: &str, title: &str) -> Vec<u8> {
        let versions: Vec<String> = (0..versions).map(|n| format!("\"20240101.{n}\": {}", version("1", "squashfs"))).collect();
        let product = format!(
            r#"{{"aliases": "{aliases}", "arch": "amd64", "os": "{title}", "release_title": "{title}", "versions": {{{}}}}}"#,
            versions.join(",")
        );
        let all: Vec<String> = (0..products).map(|n| format!("\"{n}\": {product}")).collect();
        format!("{{\"products\": {{{}}}}}", all.join(",")).into_bytes()
    }

    #[test]
    fn names_and_texts_have_bounds() {
        let long = "l".repeat(MAX_ALIAS_BYTES + 1);
        let aliases: Vec<String> = (0..1000).map(|n| format!("a{n}")).collect();
        let catalogue = parse_one(&many(1, 2, &format!("{long},{}", aliases.join(",")), &"ä".repeat(2000)), &ANY).expect("catalogue");
        assert_eq!(catalogue.aliases().count(), 2 * MAX_ALIASES, "each also with the architecture");
        assert!(catalogue.find(&long).is_err() && catalogue.find("a63").is_ok() && catalogue.find("a64").is_err());
        for image in catalogue.images() {
            assert!(image.image.properties.values().all(|text| text.len() <= MAX_TEXT_BYTES), "{:?}", image.image.properties);
        }
        assert_eq!(catalogue.images()[0].image.properties["os"], "ä".repeat(MAX_TEXT_BYTES / 2));
        let path = String::from_utf8(products()).expect("text").replace("a/2/rootfs", &"p".repeat(MAX_TEXT_BYTES + 1));
        assert_eq!(parse_one(path.as_bytes(), &ANY).expect("left out").images().len(), 2);
    }

    #[test]
    fn totals_have_bounds() {
        let mut full = Gathered { text_bytes: MAX_ALL_TEXT_BYTES, ..Gathered::default() };
        assert!(matches!(full.add(&products(), &ANY), Err(Error::Limit { limit: MAX_ALL_TEXT_BYTES, .. })));
        let mut full = Gathered { read_bytes: MAX_ALL_PRODUCTS_BYTES, ..Gathered::default() };
        assert!(matches!(full.add(&products(), &ANY), Err(Error::Limit { limit: MAX_ALL_PRODUCTS_BYTES, .. })));
        let item = || Item { path: String::new(), size_bytes: 0, sha256: String::new() };
        let one = StreamImage { image: Image::default(), metadata: item(), rootfs: item() };
        let mut full = Gathered { found: vec![(Vec::new().into(), one); MAX_IMAGES - 1], ..Gathered::default() };
        assert!(matches!(full.add(&many(1, 3, "a", "t"), &ANY), Err(Error::Limit { what: "images", .. })));
        assert_eq!(full.found.len(), MAX_IMAGES, "not one more, also within a product");
    }

    /// What is not kept takes no memory, however much of it there is in one product.
    #[test]
    fn one_product_has_bounds() {
        let builds = (0..=MAX_IMAGES).map(|n| format!("\"20240101.{n}\": {}", version("1", "squashfs"))).collect::<Vec<_>>().join(",");
        let text = format!(r#"{{"products": {{"a": {{"versions": {{{builds}}}, "arch": "pdp11"}}}}}}"#);
        assert!(matches!(parse_one(text.as_bytes(), &ANY), Err(Error::Limit { what: "images", limit: MAX_IMAGES })));
        let empty = (0..100_000).map(|n| format!(r#""20240101.{n}": {{"items": {{"a": {{}}}}}}"#)).collect::<Vec<_>>().join(",");
        let text = format!(r#"{{"products": {{"a": {{"versions": {{{empty}}}, "arch": "amd64"}}}}}}"#);
        assert!(parse_one(text.as_bytes(), &ANY).expect("no images").images().is_empty());
    }

    #[test]
    fn files_one_after_the_other() {
        let index = br#"{"index": {"a": {"datatype": "image-downloads", "path": "one.json", "products": ["a"]},
            "b": {"datatype": "image-downloads", "path": "two.json", "products": ["a"]}}}"#;
        let mut asked = Vec::new();
        let catalogue = Catalogue::read(&ANY, |path, limit_bytes| -> Result<Vec<u8>> {
            asked.push((path.to_owned(), limit_bytes));
            match path {
                INDEX => Ok(index.to_vec()),
                "one.json" => Ok(products()),
                _ => Ok(many(1, 1, "other", "t")),
            }
        });
        let catalogue = catalogue.expect("catalogue");
        assert!(catalogue.find("jammy").is_ok() && catalogue.find("other").is_ok());
        let expected = [(INDEX, MAX_INDEX_BYTES), ("one.json", MAX_PRODUCTS_BYTES), ("two.json", MAX_PRODUCTS_BYTES)];
        assert_eq!(asked, expected.map(|(path, limit)| (path.to_owned(), limit)));
    }

    #[test]
    fn the_newest_of_the_own_architecture() {
        let catalogue = read(&[]);
        let image = catalogue.find("jammy").expect("alias");
        assert_eq!((image.image.fingerprint.as_str(), image.image.architecture.as_str()), (hash("2").as_str(), "x86_64"));
        assert_eq!((image.image.size, image.metadata.size_bytes, image.rootfs.path.as_str()), (42, 10, "a/2/rootfs"));
        assert_eq!(image.image.properties["description"], "ubuntu 22.04 LTS amd64 (release) (20240202.1)");
        assert_eq!(image.image.created_at.to_string(), "2024-02-02T00:00:00Z");
        assert_eq!(image.image.expires_at.to_string(), "2032-04-21T00:00:00Z");
        assert_eq!(image.image.filename, "lxd.tar.xz");
        let aliases: Vec<&str> = image.image.aliases.iter().map(|alias| alias.name.as_str()).collect();
        assert_eq!(aliases, ["22.04", "22.04/amd64", "jammy", "jammy/amd64", "j", "j/amd64", "default", "default/amd64"]);
        assert_eq!(catalogue.find("default").expect("default").image.fingerprint, hash("2"));
    }

    #[test]
    fn other_architectures_and_older_versions_by_their_names() {
        let catalogue = read(&[]);
        assert_eq!(catalogue.find("jammy/arm64").expect("arm64").image.fingerprint, hash("f"), "the fingerprint with root.tar.xz");
        assert_eq!(catalogue.find("1111").expect("older").image.properties["serial"], "20240101");
        assert_eq!(catalogue.images().len(), 3, "what is no container, has no date or another architecture is left out");
        assert!(matches!(read(&["x86_64"]).find("jammy/arm64"), Err(Error::NotFound(_))));
        assert!(matches!(catalogue.find(""), Err(Error::NotFound(_))));
        assert!(matches!(catalogue.find("nope"), Err(Error::NotFound(_))));
    }

    #[test]
    fn beginnings_that_several_have() {
        let twice = String::from_utf8(products()).expect("text").replace(&hash("2"), &format!("1{}", &hash("2")[1..]));
        let catalogue = parse_one(twice.as_bytes(), &ANY).expect("catalogue");
        assert!(matches!(catalogue.find("1"), Err(Error::Ambiguous(_))));
        assert!(catalogue.find("12").is_ok() && catalogue.find("11").is_ok());
    }

    #[test]
    fn ubuntus_own_server_says_ubuntu_already() {
        let text = String::from_utf8(products()).expect("text").replace("22.04, jammy", "ubuntu/22.04,ubuntu/jammy");
        let reading = Reading { server: "https://cloud-images.ubuntu.com/releases", ..ANY };
        assert!(parse_one(text.as_bytes(), &reading).expect("catalogue").find("22.04").is_ok());
    }

    #[test]
    fn the_index_names_files() {
        let index = br#"{"format": "index:1.0", "index": {
            "images": {"datatype": "image-downloads", "path": "streams/v1/images.json", "products": ["a"]},
            "none": {"datatype": "image-downloads", "path": "streams/v1/none.json", "products": []},
            "ids": {"datatype": "image-ids", "path": "streams/v1/ids.json", "products": ["a"]}}}"#;
        assert_eq!(product_files(index).expect("index"), ["streams/v1/images.json"]);
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        let deep = format!("{{\"products\": {}", "[".repeat(100_000));
        let deep_unknown = format!("{{\"unknown\": {}{}, \"products\": {{}}}}", "[".repeat(100_000), "]".repeat(100_000));
        for text in ["", "3", "{\"products\": 3}", "<html>", &deep, "{\"products\": {\"a\": {\"aliases\": 3}}}"] {
            assert!(matches!(parse_one(text.as_bytes(), &ANY), Err(Error::Format { .. })), "{:.40}", text);
            assert!(product_files(text.as_bytes()).is_err());
        }
        // What is not looked at is skipped without recursion.
        assert!(parse_one(deep_unknown.as_bytes(), &ANY).is_ok());
        let many: Vec<String> =
            (0..100).map(|n| format!(r#""{n}": {{"datatype": "image-downloads", "path": "a", "products": ["a"]}}"#)).collect();
        assert!(matches!(product_files(format!("{{\"index\": {{{}}}}}", many.join(",")).as_bytes()), Err(Error::Limit { .. })));
        let huge = String::from_utf8(products()).expect("text").replace("\"size\": 32", &format!("\"size\": {}", u64::MAX));
        assert!(parse_one(huge.as_bytes(), &ANY).expect("left out").images().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn never_panics_on_nearly_valid(at in 0..3000_usize, byte: u8) {
            let mut bytes = products();
            let at = at % bytes.len();
            bytes[at] = byte;
            drop(parse_one(&bytes, &ANY));
        }
    }
}
