//! The driver `dir`: plain directories on any file system. Copies share content where the file
//! system can (btrfs, xfs) and are whole copies elsewhere.

use std::path::Path;

use sys::Root;
use sys::copy::Begun;

use crate::error::Result;
use crate::volumes::{Access, Driver, STATE, no_quota};

/// Has no state of its own.
pub(crate) struct DirDriver;

impl Driver for DirDriver {
    const NAME: &'static str = "dir";

    fn duplicate(&self, from: &Path, to: &Path, _access: Access) -> Result<()> {
        sys::fs::create_dir(to, 0o700)?;
        Ok(sys::copy::copy_tree(&Root::open(from)?, &Root::open(to)?, &[STATE])?)
    }

    fn duplicate_begun(&self, from: &Path, to: &Path, begun: &Begun) -> Result<()> {
        sys::fs::create_dir(to, 0o700)?;
        Ok(sys::copy::copy_tree_begun(&Root::open(from)?, &Root::open(to)?, &[STATE], begun)?)
    }

    fn refresh(&self, from: &Path, to: &Path, begun: &Begun) -> Result<()> {
        Ok(sys::copy::refresh_tree(&Root::open(from)?, &Root::open(to)?, &[STATE], begun)?)
    }

    fn set_quota(&self, _dir: &Path, bytes: Option<u64>) -> Result<()> {
        no_quota(Self::NAME, bytes)
    }
}
