//! Servers that a route names and that want to know who we are: our own server plays them.

use std::{
    fs,
    future::IntoFuture,
    num::NonZeroU32,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{
    Dns,
    certificates::{Authority, Shown, pem_file},
    deliver, loopback, mx, options, routes, short, tls_policy,
};
use hedwig_envelope::{BoxError, Mail, Outcome, Receipt, Reply, Status};
use hedwig_mx::{Authorities, Logins, Mx, MxOptions, TlsLevel};
use hedwig_smtp::{
    ServerOptions,
    policy::allow_all,
    sasl::{Answer, Authenticator, Mechanism, ScramKeys, Secret},
    serve,
};
use rustls::ServerConfig;
use tokio::net::TcpListener;

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

/// Knows alice, whose password is wonderland, and counts who asks.
struct Directory {
    mechanisms: Vec<Mechanism>,
    asked: Arc<AtomicUsize>,
}

impl Authenticator for Directory {
    fn mechanisms(&self) -> Vec<Mechanism> {
        self.mechanisms.clone()
    }

    fn check_password<'a>(&'a self, user: &'a str, password: &'a Secret) -> Answer<'a, bool> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(user == "alice" && password.reveal() == "wonderland") })
    }

    fn scram_keys<'a>(&'a self, user: &'a str) -> Answer<'a, Option<ScramKeys>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let iterations = NonZeroU32::new(4096).unwrap();
        let made = move || ScramKeys::of_password("wonderland", b"a salt", iterations).unwrap();
        Box::pin(async move { Ok((user == "alice").then(made)) })
    }
}

/// How the server comes to TLS.
#[derive(Clone)]
enum Tls {
    Never,
    Explicit(Arc<ServerConfig>),
    Implicit(Arc<ServerConfig>),
}

struct SmartHost {
    port: u16,
    taken: Arc<Mutex<Vec<Mail>>>,
    asked: Arc<AtomicUsize>,
}

impl SmartHost {
    async fn start(tls: Tls, mechanisms: &[Mechanism]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (taken, asked) = (Arc::<Mutex<Vec<Mail>>>::default(), Arc::<AtomicUsize>::default());
        let inbox = taken.clone();
        let service = tower::service_fn(move |mail: Mail| {
            let reply = Reply::with_status(250, Status::OK, "Kept");
            let recipients = mail.envelope.recipients.len();
            let receipt = Receipt::uniform(mail.id, recipients, Outcome::of_reply(reply, None));
            inbox.lock().unwrap().push(mail);
            std::future::ready(Ok::<_, BoxError>(receipt))
        });
        let mut options =
            ServerOptions { authentication_failure_delay: Duration::ZERO, ..Default::default() };
        options.authentication_in_clear_text = true;
        let directory = Directory { mechanisms: mechanisms.to_vec(), asked: asked.clone() };
        let serve = serve(listener, allow_all(), service)
            .authenticator(Arc::new(directory))
            .options(options);
        let serve = match tls {
            Tls::Never => serve,
            Tls::Explicit(config) => serve.tls(config),
            Tls::Implicit(config) => serve.implicit_tls(config),
        };
        tokio::spawn(serve.into_future());
        Self { port, taken, asked }
    }

    /// Who each mail came from.
    fn users(&self) -> Vec<Option<String>> {
        let taken = self.taken.lock().unwrap();
        taken.iter().map(|mail| mail.origin.authenticated.clone()).collect()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A certificate of the authority that the client trusts.
fn certificate(name: &str) -> Arc<ServerConfig> {
    AUTHORITY.issue(name).server_config()
}

fn logins(text: &str) -> Logins {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    Logins::load(file.path()).unwrap()
}

/// All mail goes to this target.
async fn by(target: &str, login: &str) -> (Mx, Dns) {
    let dns = Dns::start().await.unwrap();
    dns.address_of("relay.example", loopback(1)).await;
    let route = format!("*={target}");
    let options = MxOptions {
        routes: routes([route.as_str()]),
        logins: logins(login),
        route_authorities: AUTHORITY.alone(),
        ..options(25)
    };
    (mx(&dns, options), dns)
}

#[tokio::test]
async fn a_smart_host_learns_who_we_are_after_starttls_and_from_the_first_byte() {
    let config = certificate("relay.example");
    for (scheme, tls) in
        [("smtp", Tls::Explicit(config.clone())), ("smtps", Tls::Implicit(config.clone()))]
    {
        for mechanism in [Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login] {
            let host = SmartHost::start(tls.clone(), &[mechanism]).await;
            let target = format!("{scheme}://relay.example:{}", host.port);
            let (mx, _dns) = by(&target, "relay.example alice wonderland").await;
            let [first] = deliver(&mx, ["bob@example.com"]).await;
            let [second] = deliver(&mx, ["eve@example.net"]).await;
            for outcome in [first, second] {
                assert_eq!(short(&outcome), "done 2.0.0", "{target}, {mechanism}: {outcome:?}");
                assert_eq!(tls_policy(&outcome), "verified: a password is set for relay.example");
                let relay = outcome.answer().relay.clone().unwrap();
                assert!(relay.tls.unwrap().starts_with("TLSv1.3"));
            }
            assert_eq!(host.users(), [Some("alice".to_owned()), Some("alice".to_owned())]);
            assert_eq!(host.asked(), 1, "the second mail went over the same connection");
        }
    }
}

/// What becomes of a mail that goes by a route to a server that shows this, where a file lists these.
async fn with_listed(shown: &Shown, listed: &[&Shown]) -> String {
    let host = SmartHost::start(Tls::Explicit(shown.server_config()), &[Mechanism::Plain]).await;
    let dns = Dns::start().await.unwrap();
    dns.address_of("relay.example", loopback(1)).await;
    let file = pem_file(listed.iter().map(|shown| &shown.certificate));
    let route = format!("*=smtp://relay.example:{}", host.port);
    let options = MxOptions {
        routes: routes([route.as_str()]),
        logins: logins("relay.example alice wonderland"),
        route_authorities: Authorities::web().and(&Authorities::load(file.path()).unwrap()),
        ..options(25)
    };
    let [outcome] = deliver(&mx(&dns, options), ["bob@example.com"]).await;
    assert_eq!(host.asked() == 1, outcome.answer().reply.is_success(), "{outcome:?}");
    short(&outcome)
}

#[tokio::test]
async fn a_certificate_that_an_operator_lists_is_good_for_its_name() {
    let name = "relay.example";
    for shown in [Shown::self_signed(name), Shown::self_signed_authority(name)] {
        assert_eq!(with_listed(&shown, &[&shown]).await, "done 2.0.0");
        let others = [&Shown::self_signed(name), &Shown::self_signed_authority(name)];
        assert_eq!(with_listed(&shown, &others).await, "deferred 4.7.5");
    }
    for shown in [Shown::self_signed("x.example"), Shown::self_signed_authority("x.example")] {
        assert_eq!(with_listed(&shown, &[&shown]).await, "deferred 4.7.5", "for another name");
    }
}

#[tokio::test]
async fn an_authority_for_routes_vouches_for_no_mail_exchanger() {
    let host = SmartHost::start(Tls::Explicit(certificate("mx.example.com")), &[]).await;
    let dns = Dns::start().await.unwrap();
    dns.mail_domain("example.com", loopback(1)).await;
    let own = pem_file([&AUTHORITY.certificate]);
    let by_route = format!("example.net=smtp://mx.example.com:{}", host.port);
    let options = MxOptions {
        routes: routes([by_route.as_str()]),
        tls: TlsLevel::Verified.into(),
        route_authorities: Authorities::web().and(&Authorities::load(own.path()).unwrap()),
        ..options(host.port)
    };
    let mx = mx(&dns, options);
    assert_eq!(short(&deliver(&mx, ["bob@example.net"]).await[0]), "done 2.0.0");
    assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "deferred 4.7.5");
}

#[test]
fn a_file_without_a_certificate_names_no_authority() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for file in [empty.path(), std::path::Path::new("/nowhere/authorities.pem")] {
        let error = Authorities::load(file).unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()) && error.contains("PEM"), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_ours_to_mend_so_the_mail_waits() {
    for mechanism in [Mechanism::ScramSha256, Mechanism::Plain] {
        let tls = Tls::Explicit(certificate("relay.example"));
        let host = SmartHost::start(tls, &[mechanism]).await;
        let target = format!("smtp://relay.example:{}", host.port);
        let (mx, _dns) = by(&target, "relay.example alice looking glass").await;
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert_eq!(short(&outcome), "deferred 4.7.8", "{outcome:?}");
        let text = outcome.answer().reply.text();
        assert!(text.contains("535 5.7.8") && !text.contains("looking"), "{text}");
        let said = outcome.answer().conversation.as_ref().unwrap().lines.join("\n");
        // Ours offers SCRAM bound to TLS 1.3 of itself, and that is taken.
        let said_as =
            if mechanism == Mechanism::ScramSha256 { "SCRAM-SHA-256-PLUS" } else { "PLAIN" };
        let masked = format!("> AUTH {said_as} ****\n");
        assert!(said.contains("* TLS: TLSv1.3") && said.contains(&masked), "{said}");
        for secret in ["looking", "bG9va2luZ", "xvb2tpbm", "alice", "n,,n="] {
            assert!(!said.contains(secret), "{said}");
        }
        assert!(host.users().is_empty());
    }
}

#[tokio::test]
async fn nobody_but_the_host_of_the_certificate_is_shown_a_password() {
    for (scheme, tls) in [
        ("smtp", Tls::Explicit(certificate("other.example"))),
        ("smtps", Tls::Implicit(certificate("other.example"))),
        ("smtp", Tls::Never),
    ] {
        let host = SmartHost::start(tls, &[Mechanism::Plain]).await;
        let target = format!("{scheme}://relay.example:{}", host.port);
        let (mx, _dns) = by(&target, "relay.example alice wonderland").await;
        let [outcome] = deliver(&mx, ["bob@example.com"]).await;
        assert!(short(&outcome).starts_with("deferred 4.7."), "{target}: {outcome:?}");
        assert_eq!((host.asked(), host.users().len()), (0, 0));
    }
}

#[tokio::test]
async fn a_password_may_go_in_clear_text_within_this_host() {
    let host = SmartHost::start(Tls::Never, &[Mechanism::Plain]).await;
    let (mx, _dns) =
        by(&format!("smtp://127.0.0.1:{}", host.port), "127.0.0.1 alice wonderland").await;
    assert_eq!(short(&deliver(&mx, ["bob@example.com"]).await[0]), "done 2.0.0");
    assert_eq!(host.users(), [Some("alice".to_owned())]);
}

#[tokio::test]
async fn a_mail_exchanger_of_the_same_name_gets_no_password() {
    let host = SmartHost::start(Tls::Explicit(certificate("relay.example")), &[Mechanism::Plain]);
    let host = host.await;
    let dns = Dns::start().await.unwrap();
    dns.mx("example.com", 10, "relay.example").await;
    dns.address_of("relay.example", loopback(1)).await;
    let options =
        MxOptions { logins: logins("relay.example alice wonderland"), ..options(host.port) };
    assert_eq!(short(&deliver(&mx(&dns, options), ["bob@example.com"]).await[0]), "done 2.0.0");
    assert_eq!((host.users(), host.asked()), (vec![None], 0));
}

#[tokio::test]
async fn a_host_that_a_password_is_not_enough_for_is_told_nothing() {
    let tls = Tls::Implicit(certificate("relay.example"));
    let host = SmartHost::start(tls, &[Mechanism::OAuthBearer]).await;
    let target = format!("smtps://relay.example:{}", host.port);
    let (mx, _dns) = by(&target, "relay.example alice wonderland").await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "deferred 4.7.4", "{outcome:?}");
    assert!(outcome.answer().reply.text().contains("OAUTHBEARER"), "{outcome:?}");
}

#[tokio::test]
async fn smtps_without_a_login_is_tls_with_any_certificate_and_never_clear_text() {
    let host = SmartHost::start(Tls::Implicit(certificate("other.example")), &[]).await;
    let (mx, _dns) = by(&format!("smtps://relay.example:{}", host.port), "").await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "done 2.0.0", "{outcome:?}");
    assert_eq!(tls_policy(&outcome), "encrypted: smtps is set for relay.example");

    let host = SmartHost::start(Tls::Never, &[]).await;
    let (mx, _dns) = by(&format!("smtps://relay.example:{}", host.port), "").await;
    let [outcome] = deliver(&mx, ["bob@example.com"]).await;
    assert_eq!(short(&outcome), "deferred 4.7.5", "{outcome:?}");
    assert!(host.users().is_empty());
}
