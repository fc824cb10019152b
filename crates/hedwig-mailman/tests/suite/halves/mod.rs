//! Mailman at work: alone with a postoffice that a test plays, and together with the real one.

mod extensions;
mod listening;
mod mailman_alone;
pub(crate) mod support;
mod two_halves;
