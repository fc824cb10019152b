//! An explanation for a person who is woken by it: short lines, each with a label in front. What came from
//! outside was cleaned of control characters where it entered.

use std::fmt::Write;

use hedwig_daemon::settings::{Size, Span};
use hedwig_envelope::Verdict;
use hedwig_mx::{Contact, ExplainedAddress, ExplainedServer, ExplainedTls, Explanation};

use super::{
    report::{RecipientPart, Report, Try, Way},
    why::when,
};

/// Lines, each with its label.
struct Page(String);

impl Page {
    fn line(&mut self, label: &str, text: impl std::fmt::Display) {
        let label = if label.is_empty() { String::new() } else { format!("{label}:") };
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{label:13}{text}");
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }
}

/// The whole explanation.
pub(super) fn text(report: &Report) -> String {
    let mut page = Page(String::new());
    if !report.daemon_runs {
        page.line("daemon", "none runs on this spool, so nothing goes out, and how the destinations fare is not known");
    }
    if let Some(mail) = &report.mail {
        page.line("mail", format_args!("{} from <{}>, {} bytes", mail.id, mail.sender, mail.size));
        page.line("accepted", format_args!("{:.0}", mail.created_at));
        if mail.require_tls {
            page.line(
                "REQUIRETLS",
                "yes: a verified server that offers REQUIRETLS, or no delivery",
            );
        }
        if mail.priority != 0 {
            page.line("priority", mail.priority);
        }
    }
    signatures(&mut page, report);
    limits(&mut page, report);
    for way in &report.ways {
        page.blank();
        self::way(&mut page, way, report);
    }
    if report.ways_left_out > 0 {
        page.blank();
        page.line("", format_args!("... and {} more destinations", report.ways_left_out));
    }
    page.0
}

fn signatures(page: &mut Page, report: &Report) {
    let signatures = &report.signatures;
    let Some(domain) = &signatures.domain else {
        let why = if signatures.of_header {
            "its From field names no domain"
        } else {
            "whose mail? see --from"
        };
        return page.line("DKIM", format_args!("nothing signs: {why}"));
    };
    if signatures.keys.is_empty() {
        return page.line("DKIM", format_args!("nothing signs: there is no key for {domain}"));
    }
    for key in &signatures.keys {
        let (selector, algorithm) = (&key.selector, key.algorithm);
        page.line(
            "DKIM",
            format_args!("signed by {}, selector {selector}, {algorithm}", key.domain),
        );
    }
}

fn limits(page: &mut Page, report: &Report) {
    let limits = &report.limits;
    let sender = match (limits.per_sender, limits.sender_under_way) {
        (None, _) => "as many from one sender".to_owned(),
        (Some(most), None) => format!("{most} from one sender"),
        (Some(most), Some(under_way)) => format!("{most} from one sender ({under_way} now)"),
    };
    page.line(
        "limits",
        format_args!(
            "{} mails under way, with {} of contents, {} to one destination, {sender}; {} bytes a mail; given up after {}",
            limits.concurrency,
            Size(limits.content_memory),
            limits.per_destination,
            Size(limits.size_max as u64),
            Span(std::time::Duration::from_secs(limits.expiry_seconds)),
        ),
    );
}

fn way(page: &mut Page, way: &Way, report: &Report) {
    for RecipientPart { address, state, status, suppression } in &way.recipients {
        let state = state.map(|state| format!(", {}", format!("{state:?}").to_lowercase()));
        let status = status.map(|status| format!(", {status}"));
        let (state, status) = (state.unwrap_or_default(), status.unwrap_or_default());
        page.line("to", format_args!("<{address}>{state}{status}"));
        if let Some(entry) = suppression {
            page.line("suppressed", entry);
        }
    }
    page.line(if way.waits_for.is_some() { "waits for" } else { "when" }, &way.why);
    if let Some(expires_at) = way.expires_at {
        page.line("given up", when(expires_at, report.at));
    }
    if let Some(road) = &way.road {
        destination(page, way, road, report);
        self::road(page, road);
    }
    for tried in &way.tries {
        self::tried(page, tried);
    }
}

fn destination(page: &mut Page, way: &Way, road: &Explanation, report: &Report) {
    let destination = &way.destination;
    if let Some(ceiling) = destination.ceiling {
        let window = destination.window.map(|window| format!(" of {window}"));
        let window = window.unwrap_or_default();
        let (in_use, places) = road.connections;
        page.line(
            "destination",
            format_args!(
                "{} mails under way{window} (never more than {ceiling}); {in_use} of {places} connections in use",
                destination.under_way
            ),
        );
    }
    if let Some(servers) = destination.servers.as_deref().filter(|_| road.servers.len() != 1) {
        page.line("", format_args!("counted with all that goes to {servers}"));
    }
    if let Some(failure) = &destination.last_failure {
        let until = destination.rests_until.map(|until| when(until, report.at));
        let rests = until.map(|until| format!(", left alone until {until}"));
        page.line(
            "",
            format_args!(
                "failures in a row: {}{}",
                destination.failures,
                rests.unwrap_or_default()
            ),
        );
        page.line("", format_args!("the last one: {failure}"));
    }
    if let Some((mails, seconds)) = destination.rate {
        let per = Span(std::time::Duration::from_secs(seconds));
        let spent = destination.rate_spent_until.map(|until| when(until, report.at));
        let spent = spent.map(|until| format!(", spent until {until}")).unwrap_or_default();
        page.line("rate", format_args!("{mails} mails in {per}{spent}"));
    }
}

fn road(page: &mut Page, road: &Explanation) {
    let target = &road.route.target;
    match &road.route.rule {
        Some(rule) => page.line("route", format_args!("{rule}={target} (for {})", road.domain)),
        None if target == "mx" => {
            page.line("route", format_args!("no rule for {}: its mail exchangers", road.domain));
        }
        None => page.line("route", format_args!("no rule for {}: {target}", road.domain)),
    }
    if let Some(answer) = &road.answer {
        page.line("answer", answer);
    }
    if let Some(vouched_for) = road.vouched_for {
        let word = if vouched_for { "vouches" } else { "does not vouch" };
        page.line("DNSSEC", format_args!("{word} for these servers ({})", road.dnssec));
    }
    for server in &road.servers {
        self::server(page, server, &road.hello_name);
    }
}

fn server(page: &mut Page, server: &ExplainedServer, hello_name: &str) {
    let preference = server.preference.map(|preference| format!("MX {preference} "));
    let scheme = &server.scheme;
    page.line(
        "server",
        format_args!("{}{} ({scheme})", preference.unwrap_or_default(), server.host),
    );
    if let Some(problem) = &server.problem {
        page.line("  problem", problem);
    }
    for address in &server.addresses {
        self::address(page, address, hello_name);
    }
    if let Some(tls) = &server.tls {
        self::tls(page, tls);
    }
    if let Some(login) = &server.login {
        page.line("  login", format_args!("as {login}"));
    }
}

fn address(page: &mut Page, told: &ExplainedAddress, hello_name: &str) {
    let open = match told.open_connections {
        0 => "no connection open".to_owned(),
        1 => "1 connection open".to_owned(),
        more => format!("{more} connections open"),
    };
    page.line("  address", format_args!("{}, {open}", told.address));
    if let Some(Contact { at, failures, said }) = &told.last {
        let how = match failures {
            0 => "it answered".to_owned(),
            1 => "it failed".to_owned(),
            more => format!("it failed {more} times in a row"),
        };
        page.line("  last", format_args!("{how}, {at:.0}: {said}"));
    }
    for source in &told.sources {
        let (address, percent, hello) = (source.address, source.percent, &source.hello_name);
        let most = match (source.under_way, source.at_once_max) {
            (Some(under_way), Some(most)) => format!(", {under_way} of {most} mails under way"),
            _ => String::new(),
        };
        page.line("  from", format_args!("{address} ({percent} %), as {hello}{most}"));
    }
    if told.sources.is_empty() {
        page.line("  from", format_args!("the address that the system chooses, as {hello_name}"));
    }
}

fn tls(page: &mut Page, tls: &ExplainedTls) {
    page.line("  TLS", format_args!("{} -- {}", tls.policy, tls.asks));
    for record in &tls.tlsa {
        page.line("  TLSA", record);
    }
    let Some(policy) = &tls.mta_sts else { return };
    let span = |seconds| Span(std::time::Duration::from_secs(seconds));
    if !policy.mode.is_empty() {
        page.line(
            "  MTA-STS",
            format_args!(
                "{}, id {}, fetched {} ago, good for {} more, names {}",
                policy.mode,
                policy.id,
                span(policy.fetched_seconds_ago),
                span(policy.seconds_left),
                policy.hosts.join(" "),
            ),
        );
    }
    if let Some(failure) = &policy.failure {
        page.line("  MTA-STS", format_args!("id {} cannot be had: {failure}", policy.id));
    }
}

fn tried(page: &mut Page, tried: &Try) {
    page.line("attempt", format_args!("{:.0}", tried.at));
    for answer in &tried.answers {
        let outcome = match answer.outcome {
            Verdict::Done => "done",
            Verdict::Deferred => "deferred",
            Verdict::Failed => "failed",
        };
        let host = answer.host.as_deref().map(|host| format!(" by {host}")).unwrap_or_default();
        let ambiguous = if answer.ambiguous { ", perhaps taken all the same" } else { "" };
        page.line("", format_args!("{outcome}{host}{ambiguous}: {}", answer.reply));
    }
    for line in tried.conversation.iter().flat_map(|conversation| &conversation.lines) {
        page.line("", format_args!("    {line}"));
    }
}
