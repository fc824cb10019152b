use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use hedwig_envelope::{BoxError, Content, Mail, MailService, Receipt, Timestamp};
use tower::{Layer, Service, ServiceExt};

use super::{BodyForm, KeyRing, keys_for, sign_with};

/// From this size on, hashing alone takes longer than other tasks should wait.
const LARGE_BYTES: usize = 256 * 1024;

/// Signs every mail that goes in with all keys of its From domain. A mail without such a key passes as it is.
#[derive(Clone, Debug)]
pub struct DkimLayer {
    keys: KeyRing,
    body_form: BodyForm,
}

impl DkimLayer {
    /// A layer that signs with these keys, with relaxed canonical forms.
    #[must_use]
    pub fn new(keys: impl Into<KeyRing>) -> Self {
        Self { keys: keys.into(), body_form: BodyForm::default() }
    }

    /// With this canonical form for bodies.
    #[must_use]
    pub fn body_form(self, body_form: BodyForm) -> Self {
        Self { body_form, ..self }
    }
}

impl<S> Layer<S> for DkimLayer {
    type Service = Dkim<S>;

    fn layer(&self, inner: S) -> Dkim<S> {
        Dkim { inner, layer: self.clone() }
    }
}

/// What [`DkimLayer`] puts around a service.
#[derive(Clone, Debug)]
pub struct Dkim<S> {
    inner: S,
    layer: DkimLayer,
}

impl<S: MailService> Service<Mail> for Dkim<S> {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    /// Always ready: whether the inner service is, is asked after signing, which may take a while.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut mail: Mail) -> Self::Future {
        let (inner, layer) = (self.inner.clone(), self.layer.clone());
        Box::pin(async move {
            let fields = layer.signatures(&mail.content).await?;
            if !fields.is_empty() {
                mail.content.prepend(fields.as_bytes());
            }
            inner.oneshot(mail).await
        })
    }
}

impl DkimLayer {
    /// An RSA signature is a millisecond of pure computing: it is made on a thread of its own.
    async fn signatures(&self, content: &Content) -> Result<String, BoxError> {
        let keys = self.keys.current();
        let keys = keys_for(content, &keys);
        if keys.is_empty() {
            return Ok(String::new());
        }
        let now = Timestamp::now();
        if content.len() < LARGE_BYTES && !keys.iter().any(|key| key.is_slow()) {
            return Ok(sign_with(keys, content, self.body_form, now)?);
        }
        let (keys, content, body_form) = (keys.to_vec(), content.clone(), self.body_form);
        let work = move || sign_with(&keys, &content, body_form, now);
        Ok(tokio::task::spawn_blocking(work).await??)
    }
}
