//! The postoffice first, the spool where it does not settle a mail in time.

use crate::common::{id, mail, outcome, seconds};
use hedwig_envelope::{BoxError, Mail, MailService, Receipt};
use hedwig_spool::{CutThrough, Filter, Spool};
use tower::{Service, service_fn};

/// What a cut-through came to, and whether the fallback was called.
async fn cut_through(first: impl MailService) -> (Receipt, bool) {
    let spool = Spool::in_memory(crate::common::options()).unwrap();
    let mut service = CutThrough::new(first, spool.clone(), seconds(2));
    let receipt = service.call(mail(1, &["a@x.example", "b@y.example"])).await.unwrap();
    (receipt, !spool.list(&Filter::default()).await.unwrap().is_empty())
}

fn receipt(codes: [u16; 2]) -> Receipt {
    Receipt { id: id(1), outcomes: codes.map(|code| outcome(code, "Said")).to_vec() }
}

#[tokio::test(start_paused = true)]
async fn cut_through_tells_what_the_first_has_settled() {
    let settled = service_fn(|_: Mail| async { Ok::<_, BoxError>(receipt([250, 550])) });
    let (told, fell_back) = cut_through(settled).await;
    assert_eq!((told, fell_back), (receipt([250, 550]), false));
}

#[tokio::test(start_paused = true)]
async fn cut_through_falls_back_on_a_deferral_an_error_and_a_silence() {
    let deferred = service_fn(|_: Mail| async { Ok::<_, BoxError>(receipt([250, 450])) });
    let (told, fell_back) = cut_through(deferred).await;
    assert!(told.is_done() && fell_back);
    let broken = service_fn(|_: Mail| async { Err::<Receipt, _>(BoxError::from("down")) });
    let (told, fell_back) = cut_through(broken).await;
    assert!(told.is_done() && fell_back);
    let silent = service_fn(|_: Mail| std::future::pending::<Result<Receipt, BoxError>>());
    let (told, fell_back) = cut_through(silent).await;
    assert!(told.is_done() && fell_back);
}
