//! DKIM keys for tests, as PEM text.
#![allow(dead_code, reason = "the benchmark needs only some")]

use std::sync::LazyLock;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::Ed25519KeyPair,
};
use base64::{Engine, prelude::BASE64_STANDARD};

/// Making one takes a while: all tests of a process share it.
static RSA_PKCS8: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref().to_vec()
});

pub(crate) fn rsa_pkcs8_pem() -> String {
    pem("PRIVATE KEY", &RSA_PKCS8)
}

/// RFC 5208 §5: for RSA, PKCS#8 is a header around PKCS#1; for 2048 bits it has 26 bytes.
pub(crate) fn rsa_pkcs1_pem() -> String {
    pem("RSA PRIVATE KEY", &RSA_PKCS8[26..])
}

pub(crate) fn ed25519_pem() -> String {
    let pair = Ed25519KeyPair::generate().unwrap();
    pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref())
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
