//! Linux system calls as safe functions.
//!
//! This is the only crate that contains `unsafe` and the only one that spawns programs or
//! touches the file system through raw paths. It knows nothing of containers: each module
//! wraps one kernel facility, and every failure names the operation and its subject.

pub mod cmd;
pub mod error;
pub mod fs;
pub mod idmap;
pub mod root;

pub mod archive_io;
pub mod block;
pub mod bpf;
pub mod btrfs;
pub mod copy;
pub mod daemon;
pub mod helper;
pub mod hotplug;
pub mod inotify;
pub mod loopdev;
pub mod mount;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod socket;
pub mod timerfd;
pub mod tree;
pub mod xattr;
pub use error::{Errno, Error, Result};
pub use root::Root;
