//! The drop: a directory in the spool where local programs leave mail when no mailman answers.
//!
//! A drop is a file with one mail in the form of `application/batch-smtp` (RFC 2442), named by 26
//! letters and digits. It is written under another name, flushed and renamed, so what bears a proper
//! name is whole and durable.
//!
//! ```text
//! sendmail                    mailman, at its start and every few seconds
//! drop/tmp.ID ──▶ drop/ID ──▶ drop-taken/ID' ──▶ the queue, with ID' as idempotency key ──▶ unlinked
//!                                    └─────▶ drop-refused/ID'  what cannot be read
//! ```
//!
//! Anybody on this host may write into `drop` (mode 3733): nobody but the daemon may list it or remove
//! another's file (sticky), and a file's group is the directory's (set-group-id), so that a daemon
//! that is not root can read files of mode 0640 that others own. The other two directories are the
//! daemon's alone (0700). It gives each drop a name of its own when it takes it: the name that a user
//! chose decides nothing. After a crash between commit and unlink the file is read again, and the key
//! finds the mail that is in the queue already.

mod directory;
mod pick_up;
mod taken;
mod write;

pub use directory::DropDirectories;
pub use pick_up::{PickUp, PickUpOptions};
pub(crate) use write::write;
