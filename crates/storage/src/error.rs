//! What can go wrong in a pool, in words that a user can act on.

use std::error::Error as StdError;
use std::path::PathBuf;

use sys::Errno;

/// Result of the functions of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed storage operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No driver of that name.
    #[error("unknown storage driver `{0}` (known: {known})", known = crate::driver_names().join(", "))]
    UnknownDriver(String),
    /// Whoever was called back did not get to the end, and knows why.
    #[error("not finished")]
    Unfinished,
    /// A configuration key has a value that the driver cannot take.
    #[error("storage pool key `{key}`: {reason}")]
    Config {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that cannot be a single path component.
    #[error("`{name}` cannot be the name of {kind} on a storage pool")]
    Name {
        /// What was to be named.
        kind: &'static str,
        /// The offending name.
        name: String,
    },
    /// The thing is not on the pool.
    #[error("storage pool `{pool}` has no {kind} `{name}`")]
    Missing {
        /// Image, instance or snapshot.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The pool.
        pool: String,
    },
    /// The thing is on the pool already.
    #[error("storage pool `{pool}` already has {kind} `{name}`")]
    Exists {
        /// Image, instance or snapshot.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The pool.
        pool: String,
    },
    /// A part of a volume is not of the type it must have, such as a `rootfs` that is a link.
    #[error("{path} is not {expected}, refusing the volume")]
    Malformed {
        /// The part.
        path: PathBuf,
        /// What it has to be.
        expected: &'static str,
    },
    /// The driver has no such feature.
    #[error("the storage driver `{driver}` has no {feature}; {remedy}")]
    Unsupported {
        /// The driver.
        driver: &'static str,
        /// The feature.
        feature: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A guest has made so many subvolumes in its own that a copy would keep everybody waiting.
    #[error("{path} has {count} subvolumes inside, more than the {limit} that a copy or snapshot takes along; remove some in the instance")]
    TooManySubvolumes {
        /// The volume.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// No space left.
    #[error("storage pool `{pool}` is full; delete instances, snapshots or images that are no longer needed, or give it more space")]
    Full {
        /// The pool.
        pool: String,
        /// What ran out of space.
        source: Box<Error>,
    },
    /// The pool cannot be used where it is.
    #[error("{path} cannot hold a pool of the driver `{driver}`: {reason}")]
    Unsuitable {
        /// The place.
        path: PathBuf,
        /// The driver.
        driver: &'static str,
        /// Why not.
        reason: String,
    },
    /// The pool's directory is there, and it is not the pool's: most often a disk is not mounted.
    #[error("{path} does not hold storage pool `{pool}` (its marker {marker} is missing or another pool's); is the disk mounted?")]
    Absent {
        /// The pool.
        pool: String,
        /// Its directory.
        path: PathBuf,
        /// Name of the marker file.
        marker: &'static str,
    },
    /// The content of an image could not be put into its volume.
    #[error("fill the image volume")]
    Fill(#[source] Box<dyn StdError + Send + Sync>),
    /// A system call failed.
    #[error(transparent)]
    System(#[from] sys::Error),
    /// A program failed.
    #[error(transparent)]
    Command(#[from] sys::cmd::CmdError),
}

impl Error {
    /// For the `fill` of [`crate::Pool::create_image`]: wraps the unpacker's own error.
    pub fn fill(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Fill(error.into())
    }

    /// Whether the chain of causes ends in a full file system or an exhausted quota.
    pub fn is_full(&self) -> bool {
        let mut next: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(error) = next {
            if errno_of(error).is_some_and(|errno| matches!(errno, Errno::NOSPC | Errno::DQUOT)) {
                return true;
            }
            next = error.source();
        }
        false
    }

    /// Names the pool in an error that says that it is full.
    pub(crate) fn on_pool(self, pool: &str) -> Self {
        match self {
            Self::Full { .. } => self,
            other if other.is_full() => Self::Full { pool: pool.to_owned(), source: Box::new(other) },
            other => other,
        }
    }
}

fn errno_of(error: &(dyn StdError + 'static)) -> Option<Errno> {
    if let Some(Error::System(error)) = error.downcast_ref() {
        return Some(error.errno);
    }
    if let Some(error) = error.downcast_ref::<sys::Error>() {
        return Some(error.errno);
    }
    let error = error.downcast_ref::<std::io::Error>()?;
    error.raw_os_error().map(Errno::from_raw_os_error).or_else(|| errno_of(error.get_ref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_is_found_through_wrappers() {
        let deep = std::io::Error::from(sys::Error::new("write", "file", Errno::NOSPC));
        let error = Error::fill(deep).on_pool("fast");
        assert!(matches!(&error, Error::Full { pool, .. } if pool == "fast"), "{error:?}");
        assert!(!Error::fill("broken archive").is_full());
    }
}
