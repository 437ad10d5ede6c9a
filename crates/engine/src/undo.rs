//! Steps that take back what was done, so that a failure half way leaves nothing.

/// A stack of undo steps. Dropped without [`Undo::keep`] it runs them, last first; a step that
/// fails becomes a warning and never hides the first error.
#[derive(Default)]
pub(crate) struct Undo<'a> {
    steps: Vec<(&'static str, Step<'a>)>,
}

type Step<'a> = Box<dyn FnOnce() -> Result<(), String> + 'a>;

impl<'a> Undo<'a> {
    /// Adds a step; `what` names it in a warning.
    pub(crate) fn push<E: std::fmt::Display>(&mut self, what: &'static str, step: impl FnOnce() -> Result<(), E> + 'a) {
        self.steps.push((what, Box::new(move || step().map_err(|error| error.to_string()))));
    }

    /// All went well: nothing is taken back.
    pub(crate) fn keep(mut self) {
        self.steps.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some((what, step)) = self.steps.pop() {
            if let Err(error) = step() {
                tracing::warn!("undo: {what}: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn runs_backwards_unless_kept() {
        let seen = RefCell::new(Vec::new());
        {
            let mut undo = Undo::default();
            undo.push("one", || {
                seen.borrow_mut().push(1);
                Err("does not stop the others")
            });
            undo.push("two", || {
                seen.borrow_mut().push(2);
                Ok::<_, String>(())
            });
        }
        assert_eq!(*seen.borrow(), [2, 1]);
        let mut undo = Undo::default();
        undo.push("three", || {
            seen.borrow_mut().push(3);
            Ok::<_, String>(())
        });
        undo.keep();
        assert_eq!(*seen.borrow(), [2, 1]);
    }
}
