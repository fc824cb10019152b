//! DKIM signatures (RFC 6376), with RSA-SHA256 and Ed25519-SHA256 (RFC 8463).
//!
//! [`Keys`] reads the keys, [`DkimLayer`] signs every mail that passes with all keys of its From domain.

mod key;
mod layer;

pub use key::{KeyError, Keys, SigningKey};
pub use layer::{Dkim, DkimLayer};
