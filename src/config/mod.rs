//! Every knob: what the user may say (`Settings`), what follows from it (`Config`). Flag over environment over file
//! over default; all mistakes are reported at once.

mod file;
mod resolve;
mod settings;

pub use file::{load_file, nearest};
pub use resolve::{Config, Endpoint, Listeners};
pub use settings::Settings;

/// What is wrong with the configuration, one line a mistake.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(pub Vec<String>);
