//! Who may authenticate: a file with a line for each user, and `hedwig-mailman user`, which writes it.

mod command;
pub(crate) mod decoys;
mod directory;
mod file;
mod password;
mod replace;

pub use directory::UserDirectory;
pub use file::{User, UserFileError, Users};

pub(crate) use command::{is_called, run};
