//! How a spool behaves, whatever it is kept on: every test runs on files and in memory.

use std::time::Duration;

use crate::common::{
    at, claim, claim_one, deliver_all, done, id, mail, options, outcome, seconds, states, with_key,
};
use hedwig_envelope::{Hold, MailId, Priority, Refusal, RefusalKind, State, rescue};
use hedwig_spool::{Claim, Filter, Grouping, Selection, Spool, SpoolError, SpoolOptions};
use tower::Service;

/// Runs a test on both engines.
macro_rules! on_both {
    ($($name:ident($spool:ident $(, $options:expr)?) $body:block)*) => {
        mod on_files { use super::*; $(
            #[tokio::test]
            async fn $name() {
                let directory = tempfile::tempdir().unwrap();
                let options = options();
                $(let options = SpoolOptions { clock: options.clock, ..$options };)?
                let $spool = Spool::open(directory.path(), options).unwrap();
                $body
            }
        )* }
        mod in_memory { use super::*; $(
            #[tokio::test]
            async fn $name() {
                let options = options();
                $(let options = SpoolOptions { clock: options.clock, ..$options };)?
                let $spool = Spool::in_memory(options).unwrap();
                $body
            }
        )* }
    };
}

on_both! {
    what_would_have_come_before_what_is_leased_is_found(spool) {
        spool.commit(mail(5, &["a@x.example"])).await.unwrap();
        let first = claim_one(&spool, at(0)).await;
        // In the same second: by destination, and by id.
        for (number, to) in [(6, "a@w.example"), (4, "a@x.example"), (7, "a@x.example")] {
            spool.commit(mail(number, &[to])).await.unwrap();
            assert_eq!(claim_one(&spool, at(0)).await.mail.id, id(number));
        }
        assert!(claim(&spool, at(0)).await.is_empty());
        spool.give_back(first).await.unwrap();
        assert_eq!(claim_one(&spool, at(0)).await.mail.id, id(5));
    }

    a_committed_mail_is_queued_claimed_whole_and_delivered(spool) {
        let sent = mail(1, &["bob@example.net"]);
        let receipt = spool.commit(sent.clone()).await.unwrap();
        assert!(receipt.is_done() && receipt.id == sent.id);
        assert_eq!(states(&spool, id(1)).await, [State::Queued]);
        let lease = claim_one(&spool, at(0)).await;
        assert_eq!((&lease.mail, lease.attempts), (&sent, 0));
        assert_eq!(states(&spool, id(1)).await, [State::Delivering]);
        spool.finish(&lease, vec![done()], None, vec![]).await.unwrap();
        let status = spool.show(id(1)).await.unwrap().unwrap();
        assert_eq!(status.size, sent.content.len() as u64);
        assert_eq!(status.recipients[0].state, State::Delivered);
        assert_eq!(status.recipients[0].attempts[0].reply, "250 2.0.0 Ok");
        assert!(claim(&spool, at(9_999_999)).await.is_empty());
    }

    the_service_answers_done_for_each_recipient(spool) {
        let mut service = spool.clone();
        let receipt = service.call(mail(1, &["a@x.example", "b@y.example"])).await.unwrap();
        assert_eq!(receipt.outcomes.len(), 2);
        let reply = &receipt.outcomes[1].answer().reply;
        assert_eq!(reply.to_string(), format!("250 2.0.0 queued as {}", id(1)));
    }

    a_mail_without_recipients_is_refused(spool) {
        let error = spool.commit(mail(1, &[])).await.unwrap_err();
        assert_eq!(Refusal::from(error).kind, RefusalKind::Malformed);
    }

    one_key_makes_one_mail(spool) {
        let first = with_key(mail(1, &["b@x.example"]), "order-7");
        let mut second = with_key(mail(1, &["b@x.example"]), "order-7");
        second.id = id(2);
        second.content.prepend(b"Received: another way\r\n");
        assert_eq!(spool.commit(first).await.unwrap().id, id(1));
        assert_eq!(spool.commit(second.clone()).await.unwrap().id, id(1));
        assert_eq!(deliver_all(&spool, at(0)).await, 1);
        assert_eq!(spool.commit(second).await.unwrap().id, id(1));
        assert_eq!(deliver_all(&spool, at(0)).await, 0);
    }

    a_key_does_not_serve_for_another_mail(spool) {
        spool.commit(with_key(mail(1, &["b@x.example"]), "order-7")).await.unwrap();
        let mut service = spool.clone();
        let error = service.call(with_key(mail(2, &["b@x.example"]), "order-7")).await.unwrap_err();
        assert_eq!(rescue(&error).kind, RefusalKind::KeyReused);
        assert!(spool.show(id(2)).await.unwrap().is_none());
    }

    a_mail_that_comes_twice_is_one_by_its_id(spool) {
        spool.commit(mail(1, &["b@x.example"])).await.unwrap();
        spool.commit(mail(1, &["b@x.example"])).await.unwrap();
        assert_eq!(deliver_all(&spool, at(0)).await, 1);
    }

    concurrent_commits_with_one_key_make_one_mail(spool) {
        let commits = (1..=50).map(|number| {
            let mut mail = with_key(mail(1, &["b@x.example"]), "k");
            mail.id = id(number);
            let spool = spool.clone();
            tokio::spawn(async move { spool.commit(mail).await.unwrap().id })
        });
        let mut ids: Vec<MailId> = Vec::new();
        for commit in commits.collect::<Vec<_>>() {
            ids.push(commit.await.unwrap());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        assert_eq!(deliver_all(&spool, at(0)).await, 1);
    }

    recipients_at_one_domain_are_one_unit(spool) {
        let recipients = ["a@x.example", "b@y.example", "c@X.example"];
        spool.commit(mail(1, &recipients)).await.unwrap();
        let leases = claim(&spool, at(0)).await;
        assert_eq!(leases.len(), 2);
        let lease = leases.iter().find(|lease| &*lease.destination == "x.example").unwrap();
        let addresses: Vec<_> = lease.mail.envelope.recipients.iter().map(|r| r.address.as_str()).collect();
        assert_eq!(addresses, ["a@x.example", "c@x.example"]);
        spool.finish(lease, vec![done(), outcome(550, "No")], None, vec![]).await.unwrap();
        let expected = [State::Delivered, State::Delivering, State::Failed];
        assert_eq!(states(&spool, id(1)).await, expected);
    }

    with_whole_grouping_all_recipients_are_one_unit(spool, SpoolOptions { grouping: Grouping::Whole, ..SpoolOptions::default() }) {
        spool.commit(mail(1, &["a@x.example", "b@y.example"])).await.unwrap();
        let lease = claim_one(&spool, at(0)).await;
        assert_eq!((lease.mail.envelope.recipients.len(), &*lease.destination), (2, ""));
    }

    only_the_deferred_are_tried_again_and_only_when_due(spool) {
        spool.commit(mail(1, &["a@x.example", "b@x.example"])).await.unwrap();
        let lease = claim_one(&spool, at(0)).await;
        let outcomes = vec![done(), outcome(450, "Busy")];
        spool.finish(&lease, outcomes, Some(at(60)), vec![]).await.unwrap();
        assert_eq!(states(&spool, id(1)).await, [State::Delivered, State::Deferred]);
        let early = spool.claim(at(59), Claim::up_to(9)).await.unwrap();
        assert!(early.leases.is_empty() && early.next_due == Some(at(60)));
        let lease = claim_one(&spool, at(60)).await;
        assert_eq!(lease.attempts, 1);
        assert_eq!(lease.mail.envelope.recipients[0].address.as_str(), "b@x.example");
        spool.finish(&lease, vec![done()], None, vec![]).await.unwrap();
        assert_eq!(states(&spool, id(1)).await, [State::Delivered; 2]);
    }

    what_is_deferred_without_a_next_due_has_expired(spool) {
        spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        let lease = claim_one(&spool, at(0)).await;
        spool.finish(&lease, vec![outcome(450, "Busy")], None, vec![]).await.unwrap();
        assert_eq!(states(&spool, id(1)).await, [State::Expired]);
    }

    follow_ups_are_queued_with_the_settlement(spool) {
        spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        let lease = claim_one(&spool, at(0)).await;
        let report = mail(2, &["alice@example.org"]);
        spool.finish(&lease, vec![outcome(550, "No")], None, vec![report.clone()]).await.unwrap();
        assert_eq!(claim_one(&spool, at(0)).await.mail, report);
    }

    a_lease_that_ran_out_is_fenced_off(spool) {
        spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        let first = claim_one(&spool, at(0)).await;
        assert!(claim(&spool, at(14 * 60)).await.is_empty());
        let second = claim_one(&spool, at(15 * 60)).await;
        assert!(second.fencing_token() > first.fencing_token());
        let late = spool.finish(&first, vec![done()], None, vec![]).await;
        assert!(matches!(late, Err(SpoolError::LeaseLost)));
        assert!(matches!(spool.extend(&first, at(0)).await, Err(SpoolError::LeaseLost)));
        spool.finish(&second, vec![done()], None, vec![]).await.unwrap();
        let twice = spool.finish(&second, vec![done()], None, vec![]).await;
        assert!(matches!(twice, Err(SpoolError::LeaseLost)));
    }

    an_extended_lease_holds_longer(spool) {
        spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        let lease = claim_one(&spool, at(0)).await;
        spool.extend(&lease, at(14 * 60)).await.unwrap();
        assert!(claim(&spool, at(28 * 60)).await.is_empty());
        assert_eq!(claim(&spool, at(29 * 60)).await.len(), 1);
    }

    a_unit_given_back_is_due_as_before(spool) {
        spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        let lease = claim_one(&spool, at(0)).await;
        spool.give_back(lease).await.unwrap();
        assert_eq!(states(&spool, id(1)).await, [State::Queued]);
        assert_eq!(claim_one(&spool, at(0)).await.attempts, 0);
    }

    as_many_outcomes_as_recipients_are_wanted(spool) {
        spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        let lease = claim_one(&spool, at(0)).await;
        let result = spool.finish(&lease, vec![done(); 2], None, vec![]).await;
        assert!(matches!(result, Err(SpoolError::OutcomesMismatch { wanted: 1, given: 2 })));
    }

    a_busy_destination_does_not_hold_up_the_others(spool) {
        for number in 0..20 {
            spool.commit(mail(number, &["a@slow.example"])).await.unwrap();
        }
        spool.commit(mail(99, &["a@swift.example"])).await.unwrap();
        let limits = Claim { units_max: 10, per_destination_max: 3 };
        let claimed = spool.claim(at(0), limits).await.unwrap();
        let slow = claimed.leases.iter().filter(|l| &*l.destination == "slow.example").count();
        assert_eq!((slow, claimed.leases.len(), claimed.more), (3, 4, true));
        let again = spool.claim(at(0), limits).await.unwrap();
        assert!(again.leases.is_empty() && again.more);
        let slow = claimed.leases.iter().find(|l| &*l.destination == "slow.example").unwrap();
        spool.finish(slow, vec![done()], None, vec![]).await.unwrap();
        assert_eq!(spool.claim(at(0), limits).await.unwrap().leases.len(), 1);
    }

    high_priority_goes_first(spool) {
        for (number, priority) in [(1, -3), (2, 0), (3, 5)] {
            let mut mail = mail(number, &["a@x.example"]);
            mail.envelope.parameters.priority = Priority::new(priority);
            spool.commit(mail).await.unwrap();
        }
        let order: Vec<_> = claim(&spool, at(0)).await.iter().map(|lease| lease.mail.id).collect();
        assert_eq!(order, [id(3), id(2), id(1)]);
    }

    a_mail_is_held_for_as_long_as_its_sender_asked(spool) {
        let mut later = mail(1, &["a@x.example"]);
        later.envelope.parameters.hold = Some(Hold::For(600));
        spool.commit(later).await.unwrap();
        assert_eq!(states(&spool, id(1)).await, [State::Held]);
        assert_eq!(spool.retry(&Selection::All).await.unwrap(), 0);
        assert!(claim(&spool, at(599)).await.is_empty());
        // A far due time may be rounded up by a sixtieth.
        assert_eq!(claim(&spool, at(610)).await.len(), 1);
    }

    operators_hold_and_release(spool) {
        spool.commit(mail(1, &["a@x.example", "b@y.example"])).await.unwrap();
        let domain = Filter { domain: Some("X.example".into()), ..Filter::default() };
        assert_eq!(spool.hold(&domain.clone().into()).await.unwrap(), 1);
        assert_eq!(states(&spool, id(1)).await, [State::Held, State::Queued]);
        assert_eq!(&*claim_one(&spool, at(0)).await.destination, "y.example");
        assert_eq!(spool.release(&domain.into()).await.unwrap(), 1);
        assert_eq!(&*claim_one(&spool, at(0)).await.destination, "x.example");
    }

    what_is_held_while_it_is_tried_stays_held_after(spool) {
        spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        let lease = claim_one(&spool, at(0)).await;
        spool.hold(&Selection::All).await.unwrap();
        spool.finish(&lease, vec![outcome(450, "Busy")], Some(at(60)), vec![]).await.unwrap();
        assert_eq!(states(&spool, id(1)).await, [State::Held]);
        assert!(claim(&spool, at(9_999_999)).await.is_empty());
    }

    operators_retry_at_once(spool) {
        spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        let lease = claim_one(&spool, at(0)).await;
        spool.finish(&lease, vec![outcome(450, "Busy")], Some(at(3600)), vec![]).await.unwrap();
        assert!(claim(&spool, at(0)).await.is_empty());
        assert_eq!(spool.retry(&Selection::ids([id(1)])).await.unwrap(), 1);
        assert_eq!(claim_one(&spool, at(0)).await.attempts, 1);
    }

    operators_drop_even_what_is_being_tried(spool) {
        spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        let lease = claim_one(&spool, at(0)).await;
        assert_eq!(spool.drop(&Selection::All).await.unwrap(), 1);
        let late = spool.finish(&lease, vec![done()], None, vec![]).await;
        assert!(matches!(late, Err(SpoolError::LeaseLost)));
        assert_eq!(states(&spool, id(1)).await, [State::Dropped]);
        assert_eq!(spool.drop(&Selection::All).await.unwrap(), 0);
    }

    an_empty_filter_selects_nothing(spool) {
        spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        assert_eq!(spool.drop(&Filter::default().into()).await.unwrap(), 0);
        assert_eq!(states(&spool, id(1)).await, [State::Queued]);
    }

    a_domain_selects_the_mails_that_wait_for_it(spool) {
        spool.commit(mail(1, &["a@x.example", "b@y.example"])).await.unwrap();
        spool.commit(mail(2, &["a@y.example"])).await.unwrap();
        spool.commit(mail(3, &["a@x.example"])).await.unwrap();
        let at_x = Filter { domain: Some("X.Example".into()), ..Filter::default() };
        let list = async |filter: &Filter| {
            spool.list(filter).await.unwrap().into_iter().map(|mail| mail.id).collect::<Vec<_>>()
        };
        assert_eq!(list(&at_x).await, [id(1), id(3)]);
        let held = spool.hold(&at_x.clone().into()).await.unwrap();
        assert_eq!((held, list(&at_x).await), (2, vec![id(1), id(3)]));
        assert_eq!(list(&Filter { after: Some(id(1)), ..at_x.clone() }).await, [id(3)]);
        assert_eq!(list(&Filter { limit: Some(1), ..at_x.clone() }).await, [id(1)]);
        spool.release(&Selection::ids([id(1)])).await.unwrap();
        assert_eq!(deliver_all(&spool, at(0)).await, 3);
        assert_eq!(list(&at_x).await, [id(3)], "what is held waits still");
        assert_eq!(list(&Filter { finished: true, ..at_x }).await, [id(1), id(3)]);
        let nowhere = Filter { domain: Some("z.example".into()), ..Filter::default() };
        assert_eq!(list(&nowhere).await, []);
        assert_eq!(spool.drop(&nowhere.into()).await.unwrap(), 0);
    }

    lists_are_filtered(spool) {
        spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        spool.commit(mail(2, &["a@y.example"])).await.unwrap();
        let mut other = mail(3, &["a@y.example"]);
        other.envelope.sender = "carol@example.org".parse().unwrap();
        other.origin.received_at = at(-100);
        spool.commit(other).await.unwrap();
        let list = |filter: Filter| {
            let spool = spool.clone();
            async move {
                spool.list(&filter).await.unwrap().into_iter().map(|mail| mail.id).collect::<Vec<_>>()
            }
        };
        let all = Filter::default();
        assert_eq!(list(all.clone()).await, [id(1), id(2), id(3)]);
        assert_eq!(list(Filter { limit: Some(2), ..all.clone() }).await, [id(1), id(2)]);
        assert_eq!(list(Filter { domain: Some("Y.example".into()), ..all.clone() }).await, [id(2), id(3)]);
        let carol = Some("carol@example.org".parse().unwrap());
        assert_eq!(list(Filter { sender: carol, ..all.clone() }).await, [id(3)]);
        assert_eq!(list(Filter { older_than: Some(seconds(60)), ..all.clone() }).await, [id(3)]);
        assert_eq!(list(Filter::ids([id(3), id(1), id(77)])).await, [id(1), id(3)]);
        let state = |state| Filter { state: Some(state), ..Filter::default() };
        assert_eq!(list(state(State::Delivered)).await, []);
        assert_eq!(deliver_all(&spool, at(0)).await, 3);
        assert_eq!(list(all.clone()).await, []);
        assert_eq!(list(Filter { finished: true, ..all.clone() }).await, [id(1), id(2), id(3)]);
        let page = Filter { finished: true, after: Some(id(1)), limit: Some(1), ..all };
        assert_eq!(list(page).await, [id(2)]);
        assert_eq!(list(state(State::Delivered)).await, [id(1), id(2), id(3)]);
    }

    a_long_list_comes_in_pages_without_gaps(spool) {
        let commits: Vec<_> = (0..1300)
            .map(|number| {
                let spool = spool.clone();
                tokio::spawn(async move { spool.commit(mail(number, &["a@x.example"])).await })
            })
            .collect();
        for commit in commits {
            commit.await.unwrap().unwrap();
        }
        assert_eq!(spool.list(&Filter::default()).await.unwrap().len(), 1300);
        assert_eq!(spool.hold(&Selection::All).await.unwrap(), 1300);
        let many = Filter { limit: Some(600), ..Filter { state: Some(State::Held), ..Filter::default() } };
        assert_eq!(spool.release(&many.into()).await.unwrap(), 600);
    }

    counts_follow_the_recipients(spool) {
        spool.commit(mail(1, &["a@x.example", "b@y.example"])).await.unwrap();
        spool.commit(mail(2, &["a@z.example"])).await.unwrap();
        let limits = Claim::up_to(1);
        let lease = spool.claim(at(0), limits).await.unwrap().leases.pop().unwrap();
        let counts = spool.counts().await.unwrap();
        assert_eq!((counts.of(State::Queued), counts.of(State::Delivering)), (2, 1));
        spool.finish(&lease, vec![done()], None, vec![]).await.unwrap();
        spool.drop(&Selection::ids([id(2)])).await.unwrap();
        let counts = spool.counts().await.unwrap();
        let all = (counts.of(State::Delivered), counts.of(State::Dropped), counts.waiting());
        assert_eq!(all, (1, 1, 1));
    }

    only_the_last_attempts_are_remembered(spool, SpoolOptions { attempts_kept_max: 3, ..SpoolOptions::default() }) {
        spool.commit(mail(1, &["a@x.example"])).await.unwrap();
        for text in ["one", "two", "three", "four"] {
            let lease = claim_one(&spool, at(0)).await;
            spool.finish(&lease, vec![outcome(450, text)], Some(at(0)), vec![]).await.unwrap();
        }
        let status = spool.show(id(1)).await.unwrap().unwrap();
        let replies: Vec<_> = status.recipients[0].attempts.iter().map(|a| a.reply.as_str()).collect();
        assert_eq!(replies, ["450 two", "450 three", "450 four"]);
        assert_eq!(claim_one(&spool, at(0)).await.attempts, 4);
    }

    finished_mails_and_their_keys_are_forgotten_after_their_retention(spool, SpoolOptions { retention: Duration::ZERO, ..SpoolOptions::default() }) {
        spool.commit(with_key(mail(1, &["a@x.example"]), "k")).await.unwrap();
        deliver_all(&spool, at(0)).await;
        // Forgotten is what was finished before now less the retention, and the clock stands still.
        assert!(spool.show(id(1)).await.unwrap().is_some());
    }

    large_contents_come_back_whole(spool, SpoolOptions { inline_content_bytes_max: 100, ..SpoolOptions::default() }) {
        let mut large = mail(1, &["a@x.example", "b@y.example"]);
        large.content = hedwig_envelope::Content::with_added("R: x\r\n".into(), vec![b'y'; 5000].into());
        spool.commit(large.clone()).await.unwrap();
        let leases = claim(&spool, at(0)).await;
        assert!(leases.len() == 2 && leases.iter().all(|lease| lease.mail.content == large.content));
    }

    what_memory_does_not_keep_is_read_back(spool, SpoolOptions { cache_bytes_max: 0, inline_content_bytes_max: 1000, ..SpoolOptions::default() }) {
        let small = mail(1, &["a@x.example"]);
        let mut large = mail(2, &["a@x.example"]);
        large.content = hedwig_envelope::Content::with_added("R: x\r\n".into(), vec![b'y'; 5000].into());
        spool.commit(small.clone()).await.unwrap();
        spool.commit(large.clone()).await.unwrap();
        let mails: Vec<_> = claim(&spool, at(0)).await.into_iter().map(|lease| lease.mail).collect();
        assert_eq!(mails, [small, large]);
    }

    a_closed_spool_says_so(spool) {
        spool.close().await;
        assert!(matches!(spool.commit(mail(1, &["a@x.example"])).await, Err(SpoolError::Closed)));
        assert!(matches!(spool.counts().await, Err(SpoolError::Closed)));
    }
}
