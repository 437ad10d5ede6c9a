//! The documents as servers write them, read piece by piece: of a document is only in memory what is being looked at,
//! and what its reader keeps. Unknown fields are skipped; nesting is bounded by the JSON parser.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::build::{Build, MAX_IMAGES};
use crate::{Error, Result};

/// The only kind of product that is an image to download.
const IMAGES: &str = "image-downloads";
/// How many files of products an index may name.
const MAX_FILES: usize = 32;

#[derive(Default, Deserialize)]
#[serde(default)]
struct IndexEntry {
    datatype: String,
    path: String,
    /// Only counted.
    products: Vec<IgnoredAny>,
}

/// A distribution's release for one architecture.
#[derive(Default)]
pub(crate) struct Product {
    /// Separated by commas.
    pub aliases: String,
    pub arch: String,
    pub os: String,
    pub release: String,
    pub release_title: String,
    pub version: String,
    /// `YYYY-MM-DD`.
    pub support_eol: String,
    /// Those of its builds that are images.
    pub builds: Vec<Build>,
}

/// A build of a product, with the files that an image can consist of.
#[derive(Default)]
pub(crate) struct Version {
    pub label: String,
    pub metadata: Option<WireItem>,
    pub squashfs: Option<WireItem>,
    pub tarball: Option<WireItem>,
}

/// A file of a build.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireItem {
    pub ftype: String,
    pub path: String,
    pub sha256: String,
    pub size: u64,
    pub combined_sha256: String,
    pub combined_rootxz_sha256: String,
    pub combined_squashfs_sha256: String,
}

/// The paths of the files that list images, as the index names them.
pub(crate) fn product_files(index: &[u8]) -> Result<Vec<String>> {
    let mut document = Document { list: "index", is_found: false, add: Paths(Vec::new()), failure: None };
    document.read("the index", index)?;
    if !document.is_found {
        return Err(Error::Format { what: "the index", reason: "there is no index in it".to_owned() });
    }
    Ok(document.add.0)
}

/// Hands over each product of a file as soon as it has been read.
pub(crate) fn products(file: &[u8], each: impl FnMut(Product) -> Result<()>) -> Result<()> {
    let mut document = Document { list: "products", is_found: false, add: Products(each), failure: None };
    document.read("a list of products", file)
}

/// What takes the elements of the list of a document.
trait Add<'de> {
    /// The inner result is not the parser's affair, but ends its work.
    fn add<A: MapAccess<'de>>(&mut self, map: &mut A) -> std::result::Result<Result<()>, A::Error>;
}

struct Paths(Vec<String>);

impl<'de> Add<'de> for Paths {
    fn add<A: MapAccess<'de>>(&mut self, map: &mut A) -> std::result::Result<Result<()>, A::Error> {
        let entry: IndexEntry = map.next_value()?;
        if entry.datatype == IMAGES && !entry.products.is_empty() {
            if self.0.len() >= MAX_FILES {
                return Ok(Err(Error::Limit { what: "files of products", limit: MAX_FILES }));
            }
            self.0.push(entry.path);
        }
        Ok(Ok(()))
    }
}

struct Products<F>(F);

impl<'de, F: FnMut(Product) -> Result<()>> Add<'de> for Products<F> {
    fn add<A: MapAccess<'de>>(&mut self, map: &mut A) -> std::result::Result<Result<()>, A::Error> {
        let mut product = Product::default();
        map.next_value_seed(Object(&mut product))?;
        if product.builds.len() > MAX_IMAGES {
            return Ok(Err(Error::Limit { what: "images", limit: MAX_IMAGES }));
        }
        Ok((self.0)(product))
    }
}

/// An object of which one field is the list, an object as well.
struct Document<T> {
    list: &'static str,
    is_found: bool,
    add: T,
    /// Why reading was ended, unless the parser knows.
    failure: Option<Error>,
}

impl<T> Document<T> {
    fn read<'de>(&mut self, what: &'static str, bytes: &'de [u8]) -> Result<()>
    where
        T: Add<'de>,
    {
        let mut parser = serde_json::Deserializer::from_slice(bytes);
        let read = Object(&mut *self).deserialize(&mut parser).and_then(|()| parser.end());
        read.map_err(|error| {
            let format = || Error::Format { what, reason: error.to_string().chars().take(200).collect() };
            self.failure.take().unwrap_or_else(format)
        })
    }
}

impl<'de, T: Add<'de>> Fields<'de> for Document<T> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> std::result::Result<(), A::Error> {
        if name == self.list {
            self.is_found = true;
            return map.next_value_seed(Object(&mut List(self)));
        }
        skip(map)
    }
}

struct List<'d, T>(&'d mut Document<T>);

impl<'de, T: Add<'de>> Fields<'de> for List<'_, T> {
    fn field<A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> std::result::Result<(), A::Error> {
        self.0.add.add(map)?.map_err(|error| {
            self.0.failure = Some(error);
            A::Error::custom("ended")
        })
    }
}

impl<'de> Fields<'de> for Product {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> std::result::Result<(), A::Error> {
        let text = match name {
            "aliases" => &mut self.aliases,
            "arch" => &mut self.arch,
            "os" => &mut self.os,
            "release" => &mut self.release,
            "release_title" => &mut self.release_title,
            "version" => &mut self.version,
            "support_eol" => &mut self.support_eol,
            "versions" => return map.next_value_seed(Object(&mut Builds(&mut self.builds))),
            _ => return skip(map),
        };
        *text = map.next_value()?;
        Ok(())
    }
}

/// By serial, which begins with a date.
struct Builds<'p>(&'p mut Vec<Build>);

impl<'de> Fields<'de> for Builds<'_> {
    fn field<A: MapAccess<'de>>(&mut self, serial: &str, map: &mut A) -> std::result::Result<(), A::Error> {
        let mut version = Version::default();
        map.next_value_seed(Object(&mut version))?;
        // One more than there may be is enough to be too many.
        if self.0.len() <= MAX_IMAGES {
            self.0.extend(Build::of(serial, &version));
        }
        Ok(())
    }
}

impl<'de> Fields<'de> for Version {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> std::result::Result<(), A::Error> {
        match name {
            "label" => self.label = map.next_value()?,
            "items" => map.next_value_seed(Object(&mut Items(self)))?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

struct Items<'v>(&'v mut Version);

impl<'de> Fields<'de> for Items<'_> {
    fn field<A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> std::result::Result<(), A::Error> {
        let item: WireItem = map.next_value()?;
        let place = match item.ftype.as_str() {
            "lxd.tar.xz" => &mut self.0.metadata,
            "squashfs" => &mut self.0.squashfs,
            "root.tar.xz" => &mut self.0.tarball,
            _ => return Ok(()),
        };
        place.get_or_insert(item);
        Ok(())
    }
}

/// What takes the fields of an object, one after the other.
trait Fields<'de> {
    /// Must read the value.
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> std::result::Result<(), A::Error>;
}

fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> std::result::Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// Reads an object.
struct Object<'t, T>(&'t mut T);

impl<'de, T: Fields<'de>> DeserializeSeed<'de> for Object<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Fields<'de>> Visitor<'de> for Object<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            self.0.field(&name, &mut map)?;
        }
        Ok(())
    }
}
