//! The clock, compared with a time server's (SNTP, RFC 4330 §4). Signatures, certificates and Date fields need it right.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{net::UdpSocket, time::timeout};

use super::{finding::Finding, patient::Patient};

/// The port of time servers.
const PORT: u16 = 123;
/// How long a server may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
/// So many of its addresses are asked, one after the other.
const ADDRESSES_MAX: usize = 3;
/// From 1900, where the protocol counts from, to 1970, in seconds.
const SECONDS_TO_1970: u64 = 2_208_988_800;
/// Seconds that do nobody harm.
const OFF_GOOD: f64 = 2.0;
/// From so many seconds on, signatures and mails look as if they came from another time.
const OFF_BAD: f64 = 60.0;

/// How far this host's clock is off.
pub(super) async fn check(patient: &Patient) -> Vec<Finding> {
    let server = &patient.probes.time_server;
    vec![match offset(patient, server).await {
        Ok(off) => judge(off, server),
        Err(reason) => {
            let found = format!("it cannot be compared: {server}: {reason}");
            let advice = "Name a time server that answers with --ntp, or look yourself: timedatectl or chronyc tracking.";
            Finding::warn("clock", found, advice)
        }
    }]
}

fn judge(off: f64, server: &str) -> Finding {
    let advice = "Let a time service set it: systemd-timesyncd, chrony or ntpd.";
    let direction = if off < 0.0 { "ahead of" } else { "behind" };
    let found = format!("{:.1} s {direction} {server}", off.abs());
    match off.abs() {
        size if size >= OFF_BAD => Finding::fail("clock", found, advice),
        size if size > OFF_GOOD => Finding::warn("clock", found, advice),
        _ => Finding::ok("clock", format!("right to within {OFF_GOOD} s, says {server}")),
    }
}

/// The server's time less ours, in seconds.
async fn offset(patient: &Patient, server: &str) -> Result<f64, String> {
    let addresses = if let Ok(address) = server.parse::<SocketAddr>() {
        vec![address]
    } else if let Ok(address) = server.parse::<IpAddr>() {
        vec![SocketAddr::new(address, PORT)]
    } else {
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| "its port is no number")?),
            None => (server, PORT),
        };
        let found = patient.resolver.addresses(host).await.map_err(|error| error.to_string())?;
        found.value.into_iter().map(|address| SocketAddr::new(address, port)).collect()
    };
    let mut last = "it has no address".to_owned();
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        match timeout(ANSWER_TIME_MAX, ask(address)).await {
            Ok(Ok(off)) => return Ok(off),
            Ok(Err(reason)) => last = reason,
            Err(_) => last = format!("no answer from {address}"),
        }
    }
    Err(last)
}

async fn ask(address: SocketAddr) -> Result<f64, String> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let told = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind(any).await.map_err(told)?;
    socket.connect(address).await.map_err(told)?;
    // The server sends our time back. It need not know it: a number that nobody can guess does as well.
    let mark = fastrand::u64(..);
    let mut request = [0; 48];
    request[0] = 4 << 3 | 3;
    request[40..].copy_from_slice(&mark.to_be_bytes());
    let sent = now();
    socket.send(&request).await.map_err(told)?;
    let mut answer = [0; 128];
    let length = socket.recv(&mut answer).await.map_err(told)?;
    read(&answer[..length], mark, sent, now())
}

/// The offset that an answer tells: the mean of what it took on the way there and back (RFC 4330 §5).
fn read(answer: &[u8], mark: u64, sent: u64, received: u64) -> Result<f64, String> {
    let time = |at: usize| {
        let bytes = answer.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_be_bytes).ok_or_else(|| "its answer is too short".to_owned())
    };
    let (origin, its_received, its_sent) = (time(24)?, time(32)?, time(40)?);
    let (leap, mode, stratum) = (answer[0] >> 6, answer[0] & 7, answer[1]);
    if mode != 4 || origin != mark || its_sent == 0 {
        return Err("its answer is none to our question".into());
    }
    if leap == 3 || !(1..16).contains(&stratum) {
        return Err("it does not know the time itself".into());
    }
    Ok(f64::midpoint(seconds_between(sent, its_received), seconds_between(received, its_sent)))
}

/// How much later the second is, in seconds; either may be in the next era of 136 years.
#[allow(
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "a difference is small, and may be inexact"
)]
fn seconds_between(one: u64, other: u64) -> f64 {
    other.wrapping_sub(one) as i64 as f64 / 2f64.powi(32)
}

/// Our time as the protocol has it: seconds since 1900 in 32 bits, and 32 bits of their fraction.
fn now() -> u64 {
    // A clock before 1970 is as wrong as one at 1970.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (since.as_secs() + SECONDS_TO_1970) << 32 | fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    /// What a server answers whose clock is this much ahead.
    fn answer(ahead_seconds: u64) -> [u8; 48] {
        let mut answer = [0; 48];
        (answer[0], answer[1]) = (4 << 3 | 4, 2);
        answer[24..32].copy_from_slice(&7u64.to_be_bytes());
        for at in [32, 40] {
            answer[at..at + 8].copy_from_slice(&(ahead_seconds << 32).to_be_bytes());
        }
        answer
    }

    #[test]
    fn an_answer_tells_the_offset_without_the_way() {
        let second = 1u64 << 32;
        assert_eq!(read(&answer(100), 7, 9 * second, 11 * second), Ok(90.0));
        assert_eq!(read(&answer(10), 7, 10 * second, 10 * second), Ok(0.0));
        // The era that began in 1900 ends in 2036.
        assert_eq!(
            read(&answer(1), 7, 0u64.wrapping_sub(second), 0u64.wrapping_sub(second)),
            Ok(2.0)
        );
        assert_eq!(judge(-90.0, "x").level, Level::Fail);
        assert_eq!((judge(3.0, "x").level, judge(-0.5, "x").level), (Level::Warn, Level::Ok));
    }

    #[test]
    fn what_is_no_answer_to_our_question_tells_nothing() {
        let good = answer(5);
        assert!(read(&good, 8, 0, 0).is_err(), "another one's question");
        assert!(read(&good[..47], 7, 0, 0).is_err());
        let broken = |at: usize, byte: u8| {
            let mut answer = good;
            answer[at] = byte;
            read(&answer, 7, 0, 0)
        };
        assert!(broken(0, 4 << 3 | 3).is_err(), "a client");
        assert!(broken(0, 3 << 6 | 4 << 3 | 4).is_err(), "not synchronised");
        assert!(broken(1, 0).is_err(), "a kiss of death");
        assert!(broken(1, 16).is_err());
        assert!(read(&[], 7, 0, 0).is_err());
    }
}
