//! Written when the hop works.
fn main() {}
