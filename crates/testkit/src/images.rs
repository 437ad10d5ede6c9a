//! Images for tests: busybox is made in each sandbox (it takes a fraction of a second), Debian once
//! and then kept in the target directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use crate::sandbox::{binary, workspace};
use crate::{Options, Sandbox};

impl Sandbox {
    /// Makes the image `busybox`, whole and bootable in about 2 MB.
    ///
    /// # Panics
    /// When it cannot be built.
    pub fn build_busybox(&self) {
        self.lxc_ok(&["image", "build", "busybox"]);
    }

    /// A sandbox as [`Sandbox::start`] makes it, with the image `busybox`.
    pub fn with_busybox(test: &str, options: Options) -> Option<Self> {
        let sandbox = Self::start(test, options)?;
        sandbox.build_busybox();
        Some(sandbox)
    }

    /// What the API shows of an image.
    pub fn image(&self, fingerprint: &str) -> serde_json::Value {
        self.http("GET", &format!("/1.0/images/{fingerprint}"), None).metadata().clone()
    }

    /// The names of all files that are kept of images.
    pub fn image_files(&self) -> String {
        self.sh_ok("cd $LXD_DIR && find images | sort")
    }

    /// Launches a busybox container from the image `busybox` and waits until it runs.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn launch_busybox(&self, name: &str) {
        self.lxc_ok(&["launch", "busybox", name]);
        self.wait_state(name, "RUNNING");
    }

    /// Imports the Debian image under the alias `debian`, building it if this workspace has none yet.
    ///
    /// # Panics
    /// When it cannot be built or imported.
    pub fn import_debian(&self) {
        self.import_debian_with("debian", "debian-12", &[]);
    }

    /// The same with further packages; `name` is that of the kept image.
    ///
    /// # Panics
    /// When it cannot be built or imported.
    pub fn import_debian_with(&self, alias: &str, name: &str, packages: &[&str]) {
        let files = debian_image(name, packages);
        let mut args = vec!["image", "import"];
        args.extend(files.iter().map(|file| file.to_str().expect("paths in the target directory are text")));
        args.extend(["--alias", alias]);
        self.lxc_ok(&args);
    }
}

/// The Debian image's files, one (unified) or two (metadata and root file system), in that order.
fn debian_image(name: &str, packages: &[&str]) -> Vec<PathBuf> {
    let cache = workspace().join("target/testkit").join(name);
    fs::create_dir_all(&cache).expect("make the image cache");
    // Tests run side by side; the first builds, the others wait.
    let lock = File::create(cache.with_extension("lock")).expect("lock the image cache");
    lock.lock().expect("lock the image cache");
    let files = image_files(&cache);
    if !files.is_empty() && newest(&workspace().join("crates/images/src")) < modified(&files[0]) {
        return files;
    }
    for file in files {
        fs::remove_file(file).expect("remove the outdated image");
    }
    let sandbox = Sandbox::start("build the Debian image", Options { uplink: true, ..Options::default() })
        .expect("the caller's sandbox could be made, so can this one");
    let mut args = vec!["image", "build", "debian/12"];
    args.extend(packages.iter().flat_map(|package| ["--package", package]));
    // Hundreds of packages take their time.
    let status = sandbox.command(&binary("lxc"), &args).stdin(Stdio::null()).stdout(Stdio::null()).status().expect("run lxc");
    assert!(status.success(), "lxc {}: {status}\n{}", args.join(" "), sandbox.daemon_log());
    let unfinished = sandbox.dir().join("export");
    fs::create_dir(&unfinished).expect("make the export directory");
    sandbox.lxc_ok(&["image", "export", "debian/12", &unfinished.to_string_lossy()]);
    for file in image_files(&unfinished) {
        let name = file.file_name().expect("a listed file has a name");
        fs::copy(&file, cache.join(name)).expect("keep the image");
    }
    sandbox.finish();
    image_files(&cache)
}

/// Metadata first: its name starts with `meta-`.
fn image_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort_by_key(|file| !file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("meta-")));
    files
}

pub(crate) fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(crate) fn newest(dir: &Path) -> SystemTime {
    let Ok(entries) = fs::read_dir(dir) else { return SystemTime::UNIX_EPOCH };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.map(|path| if path.is_dir() { newest(&path) } else { modified(&path) }).max().unwrap_or(SystemTime::UNIX_EPOCH)
}
