//! The table of `docs/tls.md`: what becomes of a mail under each policy before each certificate. Each row of it is a
//! test here, and each test a row of it.
#![cfg(feature = "https")]

use std::{collections::BTreeSet, sync::LazyLock};

use crate::support::policy_server::{Page, PolicyServer};
use crate::support::{
    Dns, Manners, Server, Tls,
    certificates::{Authority, Shown, public_key, sha256},
    loopback, mail, options, outcomes, validating,
};
use futures_util::future::join_all;
use hedwig_envelope::{Content, Mail, Outcome};
use hedwig_lab::Delegation;
use hedwig_mx::{HttpsFetcher, HttpsOptions, MtaSts, Mx, MxOptions, TlsLevel, TlsRule, TlsRules};
use rcgen::KeyPair;

const HOST: &str = "mx.example.com";
const COLUMNS: [&str; 7] = [
    "right",
    "other name",
    "expired",
    "unknown authority",
    "self-signed",
    "no STARTTLS",
    "broken handshake",
];

/// The authority that everybody knows, and one that nobody knows.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
static STRANGER: LazyLock<Authority> = LazyLock::new(Authority::new);
/// The server's key: it is the same in a certificate that is expired or for another name.
static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());

fn shown(column: &str) -> Tls {
    match column {
        "right" => AUTHORITY.issue_for(HOST, &KEY).tls(),
        "other name" => AUTHORITY.issue_for("mx.elsewhere.example", &KEY).tls(),
        "expired" => AUTHORITY.issue_expired_for(HOST, &KEY).tls(),
        "unknown authority" => STRANGER.issue(HOST).tls(),
        "self-signed" => Shown::self_signed(HOST).tls(),
        "no STARTTLS" => Tls::NotOffered,
        "STARTTLS refused" => Tls::Refused("554 5.7.3 not with you".into()),
        "broken handshake" => Tls::Broken,
        other => panic!("no certificate {other}"),
    }
}

/// What a row is about; the rest is as it is for most domains.
#[derive(Clone, Copy)]
struct Row {
    level: TlsLevel,
    rule: Option<&'static str>,
    zone: Zone,
    tlsa: Option<Tlsa>,
    sts: Option<Sts>,
    required: bool,
    offers_requiretls: bool,
    optional: bool,
}

#[derive(Clone, Copy)]
enum Zone {
    Unsigned,
    Signed,
    Bogus,
}

#[derive(Clone, Copy)]
enum Tlsa {
    /// 3 1 1, of the server's key.
    Ee,
    /// 3 1 1, of a key that nobody has.
    EeOfAnother,
    /// 2 0 1, of the authority.
    Ta,
    /// 1 1 1, which means nothing to SMTP.
    Unusable,
}

#[derive(Clone, Copy)]
enum Sts {
    /// This mode, for these hosts.
    Mode(&'static str, &'static str),
    /// The web server has none.
    NotFound,
    /// The web server shows a certificate that nobody vouches for.
    Untrusted,
    /// It is none.
    Nonsense,
}

const ROW: Row = Row {
    level: TlsLevel::Opportunistic,
    rule: None,
    zone: Zone::Unsigned,
    tlsa: None,
    sts: None,
    required: false,
    offers_requiretls: true,
    optional: false,
};
const SIGNED: Row = Row { zone: Zone::Signed, ..ROW };
const REQUIRED: Row = Row { required: true, ..ROW };
const ENFORCE: Option<Sts> = Some(Sts::Mode("enforce", HOST));

macro_rules! rows {
    ($($test:ident, $name:literal: $row:expr;)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                check($name, $row).await;
            }
        )*

        #[test]
        fn the_document_has_these_rows_and_no_others() {
            let documented: BTreeSet<String> = documented().into_iter().map(|row| row.0).collect();
            let tested: BTreeSet<String> = [$($name.to_owned()),*].into();
            assert_eq!(documented, tested);
        }
    };
}

rows! {
    never, "never": Row { level: TlsLevel::Never, ..ROW };
    opportunistic, "opportunistic": ROW;
    encrypted, "encrypted": Row { level: TlsLevel::Encrypted, ..ROW };
    verified, "verified": Row { level: TlsLevel::Verified, ..ROW };
    dane_without_records, "dane, signed zone without TLSA records": Row { level: TlsLevel::Dane, ..SIGNED };
    rule_for_the_domain, "opportunistic, and `example.com=verified`":
        Row { rule: Some("example.com=verified"), ..ROW };
    rule_for_another, "opportunistic, and `sibling.example=verified`":
        Row { rule: Some("sibling.example=verified"), ..ROW };
    sts_testing, "MTA-STS testing": Row { sts: Some(Sts::Mode("testing", HOST)), ..ROW };
    sts_testing_another, "MTA-STS testing, names another host":
        Row { sts: Some(Sts::Mode("testing", "mx.example.net")), ..ROW };
    sts_enforce, "MTA-STS enforce": Row { sts: ENFORCE, ..ROW };
    sts_enforce_another, "MTA-STS enforce, names another host":
        Row { sts: Some(Sts::Mode("enforce", "mx.example.net")), ..ROW };
    sts_none, "MTA-STS none": Row { sts: Some(Sts::Mode("none", HOST)), ..ROW };
    sts_absent, "MTA-STS, policy not found": Row { sts: Some(Sts::NotFound), ..ROW };
    sts_untrusted, "MTA-STS, web server not trusted": Row { sts: Some(Sts::Untrusted), ..ROW };
    sts_nonsense, "MTA-STS, policy is none": Row { sts: Some(Sts::Nonsense), ..ROW };
    dane_ee, "DANE-EE 3 1 1": Row { tlsa: Some(Tlsa::Ee), ..SIGNED };
    dane_ee_of_another, "DANE-EE 3 1 1 of another key": Row { tlsa: Some(Tlsa::EeOfAnother), ..SIGNED };
    dane_ta, "DANE-TA 2 0 1": Row { tlsa: Some(Tlsa::Ta), ..SIGNED };
    dane_unusable, "PKIX-EE 1 1 1, which SMTP does not follow": Row { tlsa: Some(Tlsa::Unusable), ..SIGNED };
    dane_unsigned, "DANE-EE 3 1 1 of another key, unsigned zone": Row { tlsa: Some(Tlsa::EeOfAnother), ..ROW };
    dane_bogus, "DANE-EE 3 1 1, bogus zone": Row { tlsa: Some(Tlsa::Ee), zone: Zone::Bogus, ..ROW };
    dane_and_sts, "DANE-EE 3 1 1, and MTA-STS enforce": Row { tlsa: Some(Tlsa::Ee), sts: ENFORCE, ..SIGNED };
    requiretls, "REQUIRETLS, nobody vouches for the host": REQUIRED;
    requiretls_signed, "REQUIRETLS, signed zone": Row { zone: Zone::Signed, ..REQUIRED };
    requiretls_dane, "REQUIRETLS, DANE-EE 3 1 1": Row { zone: Zone::Signed, tlsa: Some(Tlsa::Ee), ..REQUIRED };
    requiretls_enforce, "REQUIRETLS, MTA-STS enforce": Row { sts: ENFORCE, ..REQUIRED };
    requiretls_testing, "REQUIRETLS, MTA-STS testing":
        Row { sts: Some(Sts::Mode("testing", HOST)), ..REQUIRED };
    requiretls_policy_not_had, "REQUIRETLS, MTA-STS policy not found":
        Row { sts: Some(Sts::NotFound), ..REQUIRED };
    requiretls_not_offered, "REQUIRETLS, signed zone, not offered by the server":
        Row { zone: Zone::Signed, offers_requiretls: false, ..REQUIRED };
    tls_required_no, "`TLS-Required: No`, MTA-STS enforce": Row { optional: true, sts: ENFORCE, ..ROW };
    tls_required_no_dane, "`TLS-Required: No`, DANE-EE 3 1 1 of another key":
        Row { optional: true, tlsa: Some(Tlsa::EeOfAnother), ..SIGNED };
    tls_required_no_verified, "`TLS-Required: No`, verified, MTA-STS enforce, names another host":
        Row { level: TlsLevel::Verified, optional: true, sts: Some(Sts::Mode("enforce", "mx.example.net")), ..ROW };
}

/// The rows of the document: a name, and a cell for each column.
fn documented() -> Vec<(String, Vec<String>)> {
    let document = include_str!("../../../../docs/tls.md");
    let mut rows = document.lines().filter(|line| line.starts_with('|')).map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        (cells.next().unwrap(), cells.collect::<Vec<_>>())
    });
    assert_eq!(rows.next().unwrap().1, COLUMNS, "the columns of docs/tls.md");
    rows.skip(1).collect()
}

async fn check(name: &str, row: Row) {
    let (refused, outcome) = cell(row, "STARTTLS refused").await;
    let seen = join_all(COLUMNS.map(|column| cell(row, column))).await;
    let rows = documented();
    let documented = rows.iter().find(|(documented, _)| documented == name);
    let documented = documented.map(|(_, cells)| cells.as_slice()).unwrap_or_default();
    let told: Vec<&str> = seen.iter().map(|(word, _)| word.as_str()).collect();
    assert_eq!(
        told,
        documented,
        "docs/tls.md is not as it is; its row should be\n| {name} | {} |\n{seen:#?}",
        told.join(" | ")
    );
    let not_offered = COLUMNS.iter().position(|column| *column == "no STARTTLS").unwrap();
    assert_eq!(
        refused, told[not_offered],
        "who refuses STARTTLS might as well not offer it: {outcome:?}"
    );
}

/// One mail before one certificate: in a word, and at length.
async fn cell(row: Row, column: &str) -> (String, Outcome) {
    let dns = Dns::start_signed().await.unwrap();
    match row.zone {
        Zone::Signed => {}
        Zone::Unsigned => _ = dns.delegate("example.com", Delegation::Unsigned).await,
        Zone::Bogus => _ = dns.delegate("example.com", Delegation::Bogus).await,
    }
    dns.mail_domain("example.com", loopback(1)).await;
    let manners =
        Manners { tls: shown(column), require_tls: row.offers_requiretls, ..Manners::default() };
    let server = Server::start(manners).await;
    let port = server.address.port();
    if let Some(tlsa) = row.tlsa {
        let key = sha256(&public_key(&AUTHORITY.issue_for(HOST, &KEY).certificate));
        let (kind, data) = match tlsa {
            Tlsa::Ee => ((3, 1, 1), key),
            Tlsa::EeOfAnother => ((3, 1, 1), vec![7; 32]),
            Tlsa::Ta => ((2, 0, 1), sha256(&AUTHORITY.certificate)),
            Tlsa::Unusable => ((1, 1, 1), key),
        };
        dns.tlsa(HOST, port, kind, &data).await;
    }
    let web = web(&dns, row.sts).await;
    let resolver = validating(&dns);
    let https =
        HttpsOptions { port: web.address.port(), allow_loopback: true, ..HttpsOptions::default() };
    let authorities = AUTHORITY.alone();
    let fetcher = HttpsFetcher::new(resolver.clone(), authorities.client_config(), https);
    let rules = row.rule.map(|rule| rule.parse::<TlsRule>().unwrap());
    let options = MxOptions {
        tls: TlsRules::new(row.level, rules),
        mta_sts: Some(MtaSts::new(fetcher)),
        authorities,
        ..options(port)
    };
    let outcome = outcomes(&Mx::new(resolver, options), asking(row)).await.remove(0);
    (word(&outcome, &server), outcome)
}

/// The web server of the domain's policy.
async fn web(dns: &Dns, sts: Option<Sts>) -> PolicyServer {
    let name = "mta-sts.example.com";
    let shown = match sts {
        Some(Sts::Untrusted) => STRANGER.issue(name),
        _ => AUTHORITY.issue(name),
    };
    let web = PolicyServer::start(&shown).await;
    let Some(sts) = sts else { return web };
    dns.address_of(name, loopback(1)).await;
    dns.txt("_mta-sts.example.com", "v=STSv1; id=1").await;
    match sts {
        Sts::Mode(mode, host) => web.show(Page::policy(mode, host, 86_400)),
        Sts::Untrusted => web.show(Page::policy("enforce", HOST, 86_400)),
        Sts::Nonsense => {
            let body = "<html>".to_owned();
            web.show(Page { body, ..Page::policy("enforce", HOST, 86_400) });
        }
        Sts::NotFound => {}
    }
    web
}

fn asking(row: Row) -> Mail {
    let mut mail = mail(["bob@example.com"]);
    mail.envelope.parameters.require_tls = row.required;
    if row.optional {
        mail.content = Content::from("TLS-Required: No\r\n\r\nHello\r\n");
    }
    mail
}

/// `TLS`, `clear text`, or the status of what was not delivered.
fn word(outcome: &Outcome, server: &Server) -> String {
    let taken = server.taken();
    match (outcome, taken.as_slice()) {
        (Outcome::Done(_), [mail]) if mail.encrypted => "TLS".to_owned(),
        (Outcome::Done(_), [_]) => "clear text".to_owned(),
        (Outcome::Deferred(answer) | Outcome::Failed(answer), []) => answer.status.to_string(),
        _ => panic!("{outcome:?}, and the server has {taken:?}"),
    }
}
