//! A request that is sent twice makes one mail.

use hedwig_lab::{Daemon, HttpResponse, Program, Receiver, Result, SENDER, Submission, World};

const QUERY: &str = "from=sender@geneegroup.com&to=bob@126.com";
const RFC822: &str = "Content-Type: message/rfc822";

async fn world() -> Result<World> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    World::start(&program, &["126.com"], |options| options).await
}

async fn post(postoffice: &Daemon, key: &str, message: &[u8]) -> Result<HttpResponse> {
    postoffice.post(QUERY, &[RFC822, &format!("Idempotency-Key: {key}")], message).await
}

fn id(response: &HttpResponse) -> Result<String> {
    let id = response.json()?["messages"][0]["id"].as_str().map(str::to_owned);
    Ok(id.unwrap_or_else(|| panic!("no id in {response:?}")))
}

fn copies(receiver: &Receiver, text: &str) -> usize {
    let mails = receiver.mails();
    mails.iter().filter(|mail| mail.content.message().ends_with(text.as_bytes())).count()
}

#[tokio::test]
async fn two_requests_at_once_with_one_key_make_one_mail() -> Result<()> {
    let world = world().await?;
    let postoffice = &world.house.postoffice;
    let message = Submission::new(SENDER, &["bob@126.com"], "Hello\r\n").message;
    for round in 0..10 {
        let key = format!("invoice-{round}");
        let (one, other) =
            tokio::try_join!(post(postoffice, &key, &message), post(postoffice, &key, &message))?;
        let again = post(postoffice, &key, &message).await?;
        for response in [&one, &other, &again] {
            assert_eq!(response.status, 202, "{response:?}");
            assert_eq!(id(response)?, id(&again)?);
        }
        postoffice.message_done(&id(&again)?).await?;
    }
    assert_eq!(world.close().await?, 10, "mails for 10 keys");
    Ok(())
}

#[tokio::test]
async fn a_key_belongs_to_one_content_also_after_a_restart() -> Result<()> {
    let mut world = world().await?;
    let first = Submission::new(SENDER, &["bob@126.com"], "first\r\n").message;
    let second = Submission::new(SENDER, &["bob@126.com"], "second\r\n").message;
    let response = post(&world.house.postoffice, "invoice-4711", &first).await?;
    assert_eq!(response.status, 202, "{response:?}");
    let id = id(&response)?;
    world.house.postoffice.message_done(&id).await?;
    for restart in [false, true, true] {
        if restart {
            world.house.postoffice.kill().await?;
            world.house.postoffice.start_again().await?;
        }
        let same = post(&world.house.postoffice, "invoice-4711", &first).await?;
        assert_eq!((same.status, self::id(&same)?), (202, id.clone()));
        let other = post(&world.house.postoffice, "invoice-4711", &second).await?;
        assert_eq!(other.status, 422, "{other:?}");
        assert_eq!(other.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(
        (copies(&world.receiver, "first\r\n"), copies(&world.receiver, "second\r\n")),
        (1, 0)
    );
    assert_eq!(world.close().await?, 1);
    Ok(())
}

#[tokio::test]
async fn without_a_key_two_requests_are_two_mails() -> Result<()> {
    let world = world().await?;
    let message = Submission::new(SENDER, &["bob@126.com"], "Hello\r\n").message;
    let one = world.house.postoffice.post(QUERY, &[RFC822], &message).await?;
    let other = world.house.postoffice.post(QUERY, &[RFC822], &message).await?;
    assert_ne!(id(&one)?, id(&other)?);
    world.receiver.wait_for(2).await?;
    Ok(())
}
