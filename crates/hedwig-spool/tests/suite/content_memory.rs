//! What the contents under way take of memory, and who waits for it.

use crate::common::{
    id, mail,
    running::{Call, Running, ok, plain},
    seconds,
};
use hedwig_envelope::{Content, Mail};
use hedwig_spool::{CourierOptions, Rate, Rates};

fn sized(number: u128, to: &[&str], bytes: usize) -> Mail {
    Mail { content: Content::new(vec![b'a'; bytes].into()), ..mail(number, to) }
}

#[tokio::test(start_paused = true)]
async fn contents_under_way_take_no_more_memory_than_they_may() {
    let mut running = Running::start(CourierOptions { content_bytes_max: 250_000, ..plain() });
    let three = ["to@a.example", "to@b.example", "to@c.example"];
    // Those that are due at the same time are tried in the order of their destinations.
    for mail in [
        sized(1, &three, 100_000),
        sized(2, &["to@d.example"], 100_000),
        sized(3, &["to@e.example"], 100_000),
        sized(4, &["to@f.example"], 10_000),
        sized(5, &["to@g.example"], 900_000),
    ] {
        running.spool.commit(mail).await.unwrap();
    }
    let mut under_way = running.come().await;
    let came = |calls: &[Call]| calls.iter().map(|(mail, _)| mail.id).collect::<Vec<_>>();
    assert_eq!(came(&under_way), [1, 1, 1, 2, 4].map(id), "units of one mail count once");
    for (_, reply) in under_way.drain(..2) {
        reply.send(ok()).unwrap();
    }
    assert!(running.come().await.is_empty(), "another unit still has the content");
    under_way.remove(0).1.send(ok()).unwrap();
    under_way.extend(running.come().await);
    assert_eq!(came(&under_way), [2, 4, 3].map(id));
    for (_, reply) in under_way.drain(..) {
        reply.send(ok()).unwrap();
    }
    assert_eq!(came(&running.come().await), [id(5)], "what is larger than all goes alone");
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_waits_for_memory_hides_nobody_and_spends_no_rate() {
    let rates: Rates = [("x.example".parse().unwrap(), Rate::new(1, seconds(3600)).unwrap())]
        .into_iter()
        .collect();
    let options = CourierOptions { content_bytes_max: 150_000, rates, ..plain() };
    let mut running = Running::start(options);
    // Until then it counts as spent.
    tokio::time::sleep(seconds(2 * 3600)).await;
    running.spool.commit(sized(1, &["to@a.example"], 100_000)).await.unwrap();
    let under_way = running.come().await;
    let many: Vec<String> = (0..600).map(|number| format!("to@b{number}.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    running.spool.commit(sized(2, &many, 100_000)).await.unwrap();
    running.spool.commit(sized(5, &["to@x.example"], 100_000)).await.unwrap();
    assert!(running.come().await.is_empty(), "there is no room for them");
    running.spool.commit(sized(3, &["to@y.example"], 1000)).await.unwrap();
    running.spool.commit(sized(4, &["to@x.example"], 1000)).await.unwrap();
    let came: Vec<_> = running.come().await.iter().map(|(mail, _)| mail.id).collect();
    assert_eq!(came, [id(4), id(3)], "small ones pass, and the rate of x.example is there");
    drop(under_way);
}

#[tokio::test(start_paused = true)]
async fn a_mail_larger_than_the_memory_is_overtaken_for_half_a_minute_only() {
    let options = CourierOptions { content_bytes_max: 200_000, ..plain() };
    let mut running = Running::start(options);
    let mut others = 10..;
    let mut next = || sized(others.next().unwrap(), &["to@a.example"], 100_000);
    running.spool.commit(next()).await.unwrap();
    let mut under_way = running.come().await;
    running.spool.commit(sized(1, &["to@x.example"], 900_000)).await.unwrap();
    // There is always another one, and each ends only when the next has begun, if that may be.
    for tenth in 0..10 {
        running.spool.commit(next()).await.unwrap();
        let mut come = running.come().await;
        assert_eq!(come.len(), usize::from(tenth < 3), "{tenth}");
        for (_, reply) in under_way.drain(..) {
            reply.send(ok()).unwrap();
        }
        come.extend(running.come().await);
        under_way = come;
        if under_way.iter().any(|(mail, _)| mail.id == id(1)) {
            assert_eq!(tenth, 3);
            return;
        }
        tokio::time::sleep(seconds(10)).await;
    }
    panic!("it was never tried");
}
