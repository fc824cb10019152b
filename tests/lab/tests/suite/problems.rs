//! Every request that cannot be taken is answered with a problem (RFC 9457) that says what to do, and
//! leaves nothing behind.

use hedwig_lab::{
    Client, Daemon, Dns, HouseOptions, HttpResponse, Program, Result, SENDER, Submission, TOKEN,
    curl, start_mailman, start_postoffice,
};

const MESSAGE: &[u8] = b"From: <sender@geneegroup.com>\r\nTo: <bob@126.com>\r\nSubject: A\r\n\
    Date: Sat, 21 Nov 2026 03:00:00 +0000\r\nMessage-ID: <1@geneegroup.com>\r\n\r\nHello\r\n";
const RFC822: &str = "Content-Type: message/rfc822";
const FROM_TO: &str = "from=sender@geneegroup.com&to=bob@126.com";

async fn postoffice(dns: &Dns, program: Program) -> Result<Daemon> {
    start_postoffice(&program, &HouseOptions::new(dns.address(), 9)).await
}

fn program() -> Program {
    Program::at(env!("CARGO_BIN_EXE_hedwig-lab"))
}

/// Fails unless a response is a problem with this status, whose detail names all of these.
#[track_caller]
fn assert_problem(response: &HttpResponse, status: u16, named: &[&str]) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{response:?}");
    let problem = response.json().expect("JSON");
    assert_eq!(problem["status"], status, "{problem:#}");
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem:#}");
    let detail = problem["detail"].as_str().unwrap_or("");
    for name in named {
        assert!(detail.contains(name), "no {name:?} in {problem:#}");
    }
}

async fn assert_nothing_stored(postoffice: &Daemon) -> Result<()> {
    assert_eq!(postoffice.queue_list().await?, Vec::<serde_json::Value>::new());
    Ok(())
}

#[tokio::test]
async fn a_stranger_is_told_401_and_how_to_show_who_he_is() -> Result<()> {
    let dns = Dns::start().await?;
    let postoffice = postoffice(&dns, program()).await?;
    let url = format!("http://{}/v1/messages?{FROM_TO}", postoffice.address("http"));
    for token in [None, Some("wrong"), Some(&TOKEN[1..]), Some("")] {
        let mut arguments = vec!["--header", RFC822, "--data-binary", "@-", url.as_str()];
        arguments.extend(token.into_iter().flat_map(|token| ["--oauth2-bearer", token]));
        let response = curl(arguments, MESSAGE).await?;
        assert_problem(&response, 401, &[]);
        assert!(response.header("www-authenticate").is_some_and(|v| v.starts_with("Bearer")));
        assert!(!response.body.contains(TOKEN));
    }
    assert_nothing_stored(&postoffice).await
}

#[tokio::test]
async fn what_cannot_be_understood_is_told_with_its_place() -> Result<()> {
    let dns = Dns::start().await?;
    let postoffice = postoffice(&dns, program()).await?;
    for (query, named) in [
        ("from=sender@geneegroup.com&to=bob@126..com", "bob@126..com"),
        ("from=sender@@geneegroup.com&to=bob@126.com", "sender@@geneegroup.com"),
        ("from=sender@geneegroup.com&to=bob", "bob"),
        ("from=sender@geneegroup.com&to=", "to"),
        ("from=sender@geneegroup.com", "to"),
        ("to=bob@126.com", "from"),
        (
            "from=sender@geneegroup.com&to=bob@126.com%0D%0ARCPT%20TO:%3Ceve@example.net%3E",
            "bob@126.com",
        ),
        ("from=sender@geneegroup.com&to=bob@126.com%0A", "bob@126.com"),
        ("from=sender@geneegroup.com&to=bo%0Db@126.com", "b@126.com"),
        ("from=sender@geneegroup.com%0D%0A&to=bob@126.com", "sender@geneegroup.com"),
    ] {
        let response = postoffice.post(query, &[RFC822], MESSAGE).await?;
        assert_problem(&response, 400, &[named]);
        let detail = response.json()?["detail"].as_str().unwrap_or("").to_owned();
        assert!(!detail.contains(char::is_control), "{detail:?}");
    }
    assert_nothing_stored(&postoffice).await
}

#[tokio::test]
async fn a_request_without_a_mail_or_with_too_large_a_mail_or_of_another_type_is_refused()
-> Result<()> {
    let dns = Dns::start().await?;
    let postoffice = postoffice(&dns, program()).await?;
    assert_problem(&postoffice.post(FROM_TO, &[RFC822], b"").await?, 400, &[]);
    let sixty = [MESSAGE, "z".repeat(77).as_bytes()].concat();
    let sixty: Vec<u8> = sixty.iter().copied().cycle().take(60_000_000).collect();
    assert_problem(&postoffice.post(FROM_TO, &[RFC822], &sixty).await?, 413, &[]);
    // Without a length nothing is known before it is too much.
    let chunked = [RFC822, "Transfer-Encoding: chunked"];
    assert_problem(&postoffice.post(FROM_TO, &chunked, &sixty).await?, 413, &[]);
    for unknown in [
        "Content-Type: text/html",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type:",
    ] {
        assert_problem(
            &postoffice.post(FROM_TO, &[unknown], MESSAGE).await?,
            415,
            &["message/rfc822"],
        );
    }
    assert_nothing_stored(&postoffice).await
}

#[tokio::test]
async fn an_unknown_mail_and_an_unknown_place_are_told_404() -> Result<()> {
    let dns = Dns::start().await?;
    let postoffice = postoffice(&dns, program()).await?;
    for id in ["01j9zzzzzzzzzzzzzzzzzzzzzz", "no-id"] {
        let response = postoffice.message(id).await?;
        assert!([400, 404].contains(&response.status), "{response:?}");
        assert_problem(&response, response.status, &[]);
    }
    Ok(())
}

/// Runs a program with files of at most 256 KiB: writing beyond is an I/O error, as on a full disk.
fn with_little_room() -> Program {
    program().wrapped(["env", "--ignore-signal=XFSZ", "prlimit", "--fsize=262144"])
}

#[tokio::test]
async fn a_postoffice_whose_queue_cannot_be_written_says_503_and_stores_nothing() -> Result<()> {
    let dns = Dns::start().await?;
    let postoffice = postoffice(&dns, with_little_room()).await?;
    let large = [MESSAGE, "z".repeat(400_000).as_bytes(), b"\r\n"].concat();
    let response = postoffice.post(FROM_TO, &[RFC822], &large).await?;
    assert_problem(&response, 503, &[]);
    let retry_after = response.header("retry-after").expect("Retry-After");
    assert!(retry_after.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{retry_after}");
    assert_nothing_stored(&postoffice).await
}

#[tokio::test]
async fn a_mailman_that_can_neither_pass_on_nor_keep_a_mail_says_4xx() -> Result<()> {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mailman =
        start_mailman(&with_little_room(), hedwig_lab::DaemonOptions::default(), nobody).await?;
    let body = format!("{}\r\n", "z".repeat(900)).repeat(500);
    let mail = Submission::new(SENDER, &["bob@126.com"], body);
    let error = Client::Swaks.send(mailman.address("smtp"), &mail).await.unwrap_err().to_string();
    assert!(error.contains("<** 45"), "{error}");
    assert_eq!(mailman.queue_list().await?, Vec::<serde_json::Value>::new());
    Ok(())
}
