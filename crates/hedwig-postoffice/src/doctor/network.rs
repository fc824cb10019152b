//! The way out, and what DNS passes on.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hedwig_mx::DnssecSupport;
use hedwig_smtp::client::{ClientOptions, Connection, ConnectionError, TimeLimits};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{Check, bounded, finding::Finding, patient::Patient};
use crate::init::addresses::Outward;

/// How long a connection may take to come about, and each answer.
const STEP_TIME_MAX: Duration = Duration::from_secs(7);

/// Whether a name server answers, and passes on what DANE rests on.
pub(super) async fn name_server(patient: &Patient) -> Vec<Finding> {
    let check = "name server";
    let advice = "Look at [dns] server or /etc/resolv.conf: without DNS no mail goes out.";
    let silent = |reason: &dyn std::fmt::Display| {
        vec![Finding::fail(check, format!("none answers: {reason}"), advice)]
    };
    vec![match patient.resolver.dnssec().await {
        DnssecSupport::Validating => Finding::ok(check, "it answers, and passes DNSSEC on"),
        DnssecSupport::NotPassed(reason) => {
            let advice =
                "Name a server that passes DNSSEC on in [dns] server: unbound on this host, say.";
            let found = format!("it does not pass DNSSEC on ({reason}): no DANE");
            Finding::warn(check, found, advice)
        }
        DnssecSupport::Unknown(reason) => return silent(&reason),
        // Nobody has this name (RFC 6761 §6.4), and to hear that is an answer.
        DnssecSupport::Off => match patient.resolver.txt("invalid").await {
            Err(error) if error.kind.is_transient() => return silent(&error),
            _ => {
                let advice = "Set [mx] dane to true, unless you mean it so.";
                Finding::warn(
                    check,
                    "it answers; nothing is validated, for [mx] dane is false",
                    advice,
                )
            }
        },
    }]
}

/// A connection from each address to a mail exchanger.
pub(super) fn port25(patient: &Patient) -> Vec<Check<'_>> {
    if !patient.is_seen() {
        return Vec::new();
    }
    let mut tried: Vec<(Option<IpAddr>, bool)> = Vec::new();
    let mut checks: Vec<Check<'_>> = Vec::new();
    for outward in &patient.addresses.known {
        // Several may be seen behind one of ours.
        let from = (outward.bound, outward.address.is_ipv4());
        if !tried.contains(&from) {
            tried.push(from);
            let name =
                format!("port {} from {}", patient.configuration.road.mx.mx_port, outward.address);
            let check = connect(patient, outward, name.clone());
            checks.push(bounded(name, async move { vec![check.await] }));
        }
    }
    checks
}

async fn connect(patient: &Patient, outward: &Outward, check: String) -> Finding {
    let (host, port) = (&patient.probes.port25_host, patient.configuration.road.mx.mx_port);
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => match patient.resolver.addresses(host).await {
            Ok(found) => found.value,
            Err(error) => {
                let advice = "Name a mail exchanger that is there: --port25-host mx.example.net";
                return Finding::fail(check, error.to_string(), advice);
            }
        },
    };
    let Some(address) = addresses.iter().find(|a| a.is_ipv4() == outward.address.is_ipv4()) else {
        let found = format!("{host} has no address of this family");
        return Finding::warn(
            check,
            found,
            "Name a mail exchanger that has: --port25-host mx.example.net",
        );
    };
    let address = SocketAddr::new(*address, port);
    let stream = match timeout(STEP_TIME_MAX, open(address, outward.bound)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            let found = format!(
                "this host does not have the address {}",
                outward.bound.map_or_else(String::new, |a| a.to_string())
            );
            return Finding::fail(check, found, "Give the host the address, or mend [mx] source.");
        }
        Ok(Err(error)) => return closed(check, host, address, &error.to_string()),
        Err(_) => return closed(check, host, address, "no answer"),
    };
    let time_limits = TimeLimits {
        greeting: STEP_TIME_MAX,
        hello: STEP_TIME_MAX,
        quit: Duration::from_secs(1),
        ..TimeLimits::default()
    };
    let options = ClientOptions {
        hello_name: outward.hello.clone(),
        time_limits,
        ..ClientOptions::default()
    };
    match Connection::greet(stream, options).await {
        Ok(connection) => {
            connection.quit().await;
            Finding::ok(check, format!("{host} ({address}) says hello"))
        }
        Err(ConnectionError::Refused { phase, reply }) => {
            let found = format!("{host} ({address}) refused {phase}: {reply}");
            let advice =
                "The port is open. Look at its words, and look the address up in block lists.";
            Finding::warn(check, found, advice)
        }
        // What stands in the way may take the connection and say nothing.
        Err(error) => closed(check, host, address, &error.to_string()),
    }
}

fn closed(check: String, host: &str, address: SocketAddr, why: &str) -> Finding {
    let advice = "Ask your provider to open port 25 for mail out, or send through a smart host: [mx] route. \
                  If only this server does not answer, name another one with --port25-host.";
    Finding::fail(check, format!("no way to {host} ({address}): {why}"), advice)
}

async fn open(address: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    if let Some(from) = from {
        socket.bind((from, 0).into())?;
    }
    socket.connect(address).await
}
