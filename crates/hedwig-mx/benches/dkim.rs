//! What a DKIM signature costs, and how much of that is the canonical form of the body.
#![allow(missing_docs, reason = "criterion's macros write an undocumented function")]
#![allow(clippy::unwrap_used, reason = "a benchmark may stop at an error")]

#[path = "../tests/suite/support/keys.rs"]
mod keys;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hedwig_envelope::{Content, Timestamp};
use hedwig_mx::{
    Keys,
    dkim::{BodyForm, SigningKey, sign},
};

fn keys_of(pems: &[&str]) -> Keys {
    let mut keys = Keys::default();
    for (index, pem) in pems.iter().enumerate() {
        let selector = format!("s{index}");
        keys.insert(SigningKey::from_pem("example.org", &selector, pem.as_bytes()).unwrap());
    }
    keys
}

fn mail(bytes: usize) -> Content {
    let mut text = String::from(
        "Received: from a by b\r\nFrom: Alice <alice@example.org>\r\nTo: bob@example.net\r\n\
         Subject: A mail\r\nMessage-ID: <1@example.org>\r\nDate: Sat, 21 Nov 2026 03:00:00 +0000\r\n\r\n",
    );
    while text.len() < bytes {
        text.push_str("The quick brown owl carries a letter over the hills and far away.\r\n");
    }
    Content::new(text.into())
}

fn dkim(criterion: &mut Criterion) {
    let (rsa, ed25519) = (keys::rsa_pkcs8_pem(), keys::ed25519_pem());
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    for (name, keys) in [
        ("rsa-2048", keys_of(&[&rsa])),
        ("ed25519", keys_of(&[&ed25519])),
        ("both", keys_of(&[&rsa, &ed25519])),
    ] {
        let mut group = criterion.benchmark_group(format!("dkim/{name}"));
        for kib in [4, 50] {
            let content = mail(kib * 1024);
            group.throughput(Throughput::Bytes(content.len() as u64));
            group.bench_function(format!("{kib} KiB"), |bencher| {
                bencher.iter(|| sign(black_box(&content), &keys, BodyForm::Relaxed, now).unwrap());
            });
        }
    }
}

fn canonical(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("canonical body");
    for (name, form) in [("simple", BodyForm::Simple), ("relaxed", BodyForm::Relaxed)] {
        for kib in [4, 50] {
            let content = mail(kib * 1024);
            group.throughput(Throughput::Bytes(content.len() as u64));
            group.bench_function(format!("{name} {kib} KiB"), |bencher| {
                bencher.iter(|| form.hash(black_box(content.message())));
            });
        }
    }
}

criterion_group!(benches, canonical, dkim);
criterion_main!(benches);
