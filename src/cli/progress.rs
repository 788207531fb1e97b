use std::io::{self, Write};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(2);

/// Lines on standard error for work that takes a while.
pub(super) struct Progress {
    what: &'static str,
    said: Instant,
}

impl Progress {
    pub fn new(what: &'static str) -> Progress {
        Progress { what, said: Instant::now() }
    }

    pub fn bytes(&mut self, done: u64, of: u64) {
        self.say(|| format!("{} of {} MiB", done >> 20, of >> 20));
    }

    pub fn count(&mut self, done: usize, of: usize, things: &str) {
        self.say(|| format!("{done} of {of} {things}"));
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        if self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            // Nobody may be listening.
            let _ = writeln!(io::stderr(), "monocle: {}: {}", self.what, text());
        }
    }
}
