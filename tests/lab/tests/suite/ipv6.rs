//! Mail goes out over IPv6, from a pool of addresses with a name each.

use std::{collections::BTreeMap, net::SocketAddr};

use hedwig_lab::{
    Client, Half, Program, Receiver, Result, SENDER, Submission, World, has_own_network,
};

/// So many that each address gets some, but for once in the age of the Earth.
const MAILS: usize = 64;

#[tokio::test]
async fn a_pool_of_ipv6_addresses_shares_the_mail_and_each_says_hello_by_its_name() -> Result<()> {
    let addresses = ["2001:db8::25/128", "2001:db8::a/128", "2001:db8::b/128"];
    let own_name = "ipv6::a_pool_of_ipv6_addresses_shares_the_mail_and_each_says_hello_by_its_name";
    if !has_own_network(own_name, &addresses).await? {
        return Ok(());
    }
    let server: SocketAddr = "[2001:db8::25]:0".parse()?;
    let receiver = Receiver::start_at(server).await?;
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let world = World::with_receiver(&program, &["126.com"], receiver, |mut options| {
        // The one for IPv4 has nothing to do here.
        let sources = "2001:db8::a hello=a.lab.example, 2001:db8::b hello=b.lab.example, 127.0.0.9";
        options.postoffice = options.postoffice.set(Half::Postoffice, "mx", "source", sources);
        options
    })
    .await?;
    for number in 0..MAILS {
        let mail = Submission::new(SENDER, &["bob@126.com"], format!("{number}\r\n"));
        Client::MailSend.send(world.house.smtp(), &mail).await?;
    }
    let mut names = BTreeMap::new();
    for mail in world.receiver.wait_for(MAILS).await? {
        let client = mail.origin.client.expect("a client").ip().to_string();
        names.entry(client).or_insert_with(Vec::new).push(mail.origin.hello.expect("a name"));
    }
    let said = |name: &str| names[name].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(said("2001:db8::a").iter().all(|name| *name == "a.lab.example"), "{names:?}");
    assert!(said("2001:db8::b").iter().all(|name| *name == "b.lab.example"), "{names:?}");
    let told = world.house.postoffice.explain(&["bob@126.com"]).await?;
    assert!(told.contains("from:      2001:db8::a (50 %), as a.lab.example"), "{told}");
    assert_eq!(world.close().await?, MAILS);
    Ok(())
}
