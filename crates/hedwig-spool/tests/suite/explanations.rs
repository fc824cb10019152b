//! What the spool tells of a mail that waits.

use std::sync::Arc;

use crate::common::{at, claim_one, done, id, mail, options, outcome};
use hedwig_envelope::{Conversation, Hold, Outcome};
use hedwig_spool::{Explained, Selection, Spool, Waits};

fn said(line: &str) -> Outcome {
    let lines = vec![line.to_owned()];
    outcome(450, "Not now").recorded(Arc::new(Conversation { lines }))
}

async fn explain(spool: &Spool) -> Explained {
    spool.explain(id(1)).await.unwrap().expect("the mail is known")
}

fn lines(explained: &Explained) -> Vec<&str> {
    let conversations = explained.units[0].conversations.iter();
    conversations.flat_map(|(_, said)| &said.lines).map(String::as_str).collect()
}

#[tokio::test]
async fn what_was_said_in_the_last_five_attempts_is_kept_over_a_restart_and_once_for_a_unit() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(directory.path(), options()).unwrap();
    spool.commit(mail(1, &["a@x.example", "b@x.example"])).await.unwrap();
    for number in 1..=7 {
        let lease = claim_one(&spool, at(0)).await;
        let line = said(&format!("< 450 number {number}"));
        let outcomes = vec![line.clone(), line];
        spool.finish(&lease, outcomes, Some(at(0)), vec![]).await.unwrap();
    }
    let lease = claim_one(&spool, at(0)).await;
    let outcomes = vec![done(), outcome(450, "Nobody listened")];
    spool.finish(&lease, outcomes, Some(at(60)), vec![]).await.unwrap();
    spool.close().await;
    // The log alone tells it too.
    for rebuilt in [false, true] {
        if rebuilt {
            std::fs::remove_file(directory.path().join("index.sqlite")).unwrap();
        }
        let spool = Spool::open(directory.path(), options()).unwrap();
        let explained = explain(&spool).await;
        let kept = [3, 4, 5, 6, 7].map(|number| format!("< 450 number {number}"));
        assert_eq!(lines(&explained), kept);
        assert_eq!(explained.units[0].attempts, (8, 0));
        assert_eq!(explained.status.recipients[1].attempts.len(), 8);
        spool.close().await;
    }
}

#[tokio::test]
async fn what_a_mail_waits_for_is_told_in_a_word() {
    let spool = Spool::in_memory(options()).unwrap();
    let waits = async || explain(&spool).await.units[0].waits;
    spool.commit(mail(1, &["a@x.example"])).await.unwrap();
    assert_eq!(waits().await, Waits::ForTurn);
    let lease = claim_one(&spool, at(0)).await;
    assert_eq!(waits().await, Waits::UnderWay);
    spool.finish(&lease, vec![said("< 450")], Some(at(300)), vec![]).await.unwrap();
    let explained = explain(&spool).await;
    assert_eq!(explained.units[0].waits, Waits::ForSchedule);
    assert_eq!(explained.units[0].next_due, Some(at(300)));
    assert_eq!(explained.mail.unwrap().envelope.recipients.len(), 1);
    spool.hold(&Selection::ids([id(1)])).await.unwrap();
    assert_eq!(waits().await, Waits::ForOperator);
    spool.fail(&Selection::ids([id(1)])).await.unwrap();
    assert_eq!(waits().await, Waits::ToFail);
    spool.drop(&Selection::ids([id(1)])).await.unwrap();
    let explained = explain(&spool).await;
    assert_eq!((explained.units[0].waits, explained.mail), (Waits::Finished, None));
    assert!(spool.explain(id(2)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_mail_that_its_sender_holds_waits_for_its_release() {
    let spool = Spool::in_memory(options()).unwrap();
    let mut held = mail(1, &["a@x.example"]);
    held.envelope.parameters.hold = Some(Hold::For(3600));
    spool.commit(held).await.unwrap();
    let explained = explain(&spool).await;
    assert_eq!(explained.units[0].waits, Waits::ForRelease);
    assert_eq!(explained.units[0].next_due, Some(at(3600)));
}
