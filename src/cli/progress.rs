use crate::model::number::format_size;
use crate::runtime::{Pace, Rate};
use std::io::{self, IsTerminal, Write};

/// How far work is that takes a while: on a terminal one line of standard error that is written again, else a line each time.
pub(super) struct Progress {
    what: &'static str,
    pace: Pace,
    /// Something stands in the terminal's line.
    shown: bool,
}

impl Progress {
    pub fn new(what: &'static str) -> Progress {
        Progress { what, pace: Pace::default(), shown: false }
    }

    pub fn bytes(&mut self, done: u64, of: u64) {
        if let Some(rate) = self.pace.due(done, of) {
            let a_second = format_size(rate.per_second as u64);
            self.say(&format!("{} of {}, {a_second} a second", format_size(done), format_size(of)), rate);
        }
    }

    pub fn count(&mut self, done: usize, of: usize, things: &str) {
        if let Some(rate) = self.pace.due(done as u64, of as u64) {
            self.say(&format!("{done} of {of} {things}, {:.0} a second", rate.per_second), rate);
        }
    }

    fn say(&mut self, text: &str, rate: Rate) {
        let mut out = io::stderr();
        let line = format!("monocle: {}: {text}, {} s left", self.what, rate.left.as_secs());
        // Nobody may be listening.
        if out.is_terminal() {
            self.shown = true;
            let _ = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
        } else {
            let _ = writeln!(out, "{line}");
        }
    }
}

/// The line of the terminal is free again: before anything else is said.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
