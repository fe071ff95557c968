//! A plug-in of the user's, whose end harms nobody else.
//!
//! A producer lets go of its plug-ins one after the other, on its threads and in its drop. One that
//! panics there would leave the next ones where they are, and two of them would end the process.
//!
//! Never:    lets a panic out.
//! Source:   CLS-5 of the Java producer: all plug-ins are closed, whatever the first of them does.
#![forbid(unsafe_code)]

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Holds a plug-in. The panic of its drop is logged.
#[derive(Debug)]
pub(crate) struct Shield<P> {
    what: &'static str,
    /// None in the drop.
    plug_in: Option<P>,
}

impl<P> Shield<P> {
    /// `what` is for the log.
    pub(crate) fn new(what: &'static str, plug_in: P) -> Self {
        Self { what, plug_in: Some(plug_in) }
    }
}

impl<P> Deref for Shield<P> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        self.plug_in.as_ref().expect("it is there until the drop")
    }
}

impl<P> Drop for Shield<P> {
    fn drop(&mut self) {
        let plug_in = self.plug_in.take();
        if catch_unwind(AssertUnwindSafe(|| drop(plug_in))).is_err() {
            tracing::error!(what = self.what, "it panicked when it was dropped; others go on");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Failing<'a>(&'a Cell<u32>);

    impl Drop for Failing<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            panic!("on purpose: a plug-in of a test");
        }
    }

    #[test]
    fn cls_5_every_plug_in_is_dropped_whatever_the_others_do() {
        let dropped = Cell::new(0);
        let shield = |_| Shield::new("a plug-in", Failing(&dropped));
        drop((0..3).map(shield).collect::<Vec<_>>());
        assert_eq!(dropped.get(), 3);
    }
}
