//! The values that records carry: the same one always, or a text cut into pieces, in turn.

use std::cell::Cell;
use std::fs;

use crate::{Outcome, Plan, value};

/// The values of one run.
pub struct Values {
    text: Vec<u8>,
    size: usize,
    at: Cell<usize>,
}

impl Values {
    /// Those that the plan asks for.
    ///
    /// # Errors
    /// The text cannot be read, or is shorter than a value.
    pub fn of(plan: &Plan) -> Outcome<Self> {
        let text = match &plan.text {
            Some(file) => fs::read(file)?,
            None => value(plan.size),
        };
        if text.len() < plan.size {
            return Err(format!("the text has fewer than {} bytes", plan.size).into());
        }
        Ok(Self { text, size: plan.size, at: Cell::new(0) })
    }

    /// The next one.
    pub fn next(&self) -> &[u8] {
        let at = self.at.get();
        let at = if at + self.size > self.text.len() { 0 } else { at };
        self.at.set(at + self.size);
        &self.text[at..at + self.size]
    }
}
