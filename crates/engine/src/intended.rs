//! A guard of what is under way and stored as an intent.

use crate::Result;

/// Something under way. Dropped before its end was stored, it is taken back.
pub(crate) struct Intended<'a> {
    /// Whose it is, for the log.
    of: String,
    take_back: Box<dyn Fn() -> Result<()> + Send + 'a>,
    is_done: bool,
}

impl<'a> Intended<'a> {
    /// The intent is stored.
    pub(crate) fn new(of: impl Into<String>, take_back: impl Fn() -> Result<()> + Send + 'a) -> Self {
        Self { of: of.into(), take_back: Box::new(take_back), is_done: false }
    }

    /// The end is stored, and the intent was removed with it.
    pub(crate) fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Intended<'_> {
    fn drop(&mut self) {
        if !self.is_done
            && let Err(error) = (self.take_back)()
        {
            tracing::warn!(of = self.of, "take back what was begun: {}", error.report());
        }
    }
}
