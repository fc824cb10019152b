use std::{future::Future, time::Duration};

use hedwig_transport::ServerOptions;
use tokio::task::{JoinError, JoinSet};

use crate::{Failure, Stop, settings::Setting};

/// The setting for how long a graceful stop may take.
pub static GRACE: Setting = Setting::text("server", "grace", "SPAN")
    .help("How long what is under way may take to finish after SIGTERM")
    .default("30s");

/// The limits of an HTTP listener of a daemon that has this grace: what is under way there has all of it too.
#[must_use]
pub fn http_options(grace: Duration) -> ServerOptions {
    ServerOptions { shutdown_timeout: grace, ..ServerOptions::default() }
}

/// The parts of a daemon that run side by side until it stops: listeners, a courier.
///
/// A part that ends before that brings the others to a graceful stop too.
#[derive(Debug)]
pub struct Parts {
    stop: Stop,
    tasks: JoinSet<(&'static str, Result<(), Failure>)>,
}

impl Parts {
    /// No parts yet; all are to end with `stop`.
    #[must_use]
    pub fn new(stop: Stop) -> Self {
        Self { stop, tasks: JoinSet::new() }
    }

    /// Starts a part. It ends by itself when the stop is requested.
    pub fn start<E>(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<hedwig_envelope::BoxError>,
    {
        self.tasks.spawn(async move { (name, part.await.map_err(Failure::try_again)) });
    }

    /// Starts a part that cannot fail.
    pub fn start_sure(
        &mut self,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks.spawn(async move {
            part.await;
            (name, Ok(()))
        });
    }

    /// Waits until the stop is requested and every part has ended, for at most `grace` after it.
    ///
    /// # Errors
    /// With what went wrong first, when a part did not end of its own accord.
    pub async fn finish(mut self, grace: Duration) -> Result<(), Failure> {
        let stop = self.stop.clone();
        let first = tokio::select! {
            // A part that ends because of the stop must not be taken for one that ended before it.
            biased;
            () = stop.requested() => Ok(()),
            Some(ended) = self.tasks.join_next() => {
                stop.gracefully();
                Err(early(ended))
            }
        };
        let rest = tokio::time::timeout(grace, async {
            while let Some(ended) = self.tasks.join_next().await {
                told(ended)?;
            }
            Ok(())
        });
        match rest.await {
            Ok(rest) => first.and(rest),
            Err(_) => {
                let parts = self.tasks.len();
                tracing::warn!(parts, ?grace, "not finished in time; the queue keeps what is left");
                first
            }
        }
    }
}

type Ended = Result<(&'static str, Result<(), Failure>), JoinError>;

fn early(ended: Ended) -> Failure {
    match ended {
        Ok((name, Ok(()))) => Failure::try_again(format!("the {name} ended by itself")),
        Ok((name, Err(failure))) => Failure::try_again(format!("the {name} failed: {failure}")),
        Err(error) => Failure::try_again(error),
    }
}

fn told(ended: Ended) -> Result<(), Failure> {
    match ended {
        Ok((_, Ok(()))) => Ok(()),
        other => Err(early(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, io, net::SocketAddr};

    use hedwig_transport::{Router, full, serve, server::Listener};
    use http::Response;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::sleep,
    };

    use super::*;

    #[tokio::test]
    async fn a_part_that_fails_stops_the_others() {
        let stop = Stop::new();
        let mut parts = Parts::new(stop.clone());
        parts.start_sure("listener", stop.requested());
        parts.start("courier", async { Err("no road") });
        let failure = parts.finish(Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(failure.to_string(), "the courier failed: no road");
    }

    /// A listener with one client.
    struct One(Option<DuplexStream>);

    impl Listener for One {
        type Stream = DuplexStream;

        async fn accept(&mut self) -> io::Result<(DuplexStream, Option<SocketAddr>)> {
            match self.0.take() {
                Some(stream) => Ok((stream, None)),
                None => pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_the_whole_grace_to_be_answered() {
        let (mut client, server) = duplex(1024);
        let slowly = || async {
            sleep(Duration::from_secs(100)).await;
            Response::new(full("done"))
        };
        let server = serve(One(Some(server)), Router::new().get("/", slowly));
        let server = server.options(http_options(Duration::from_secs(110)));
        let asked = sleep(Duration::from_secs(1));
        let server = tokio::spawn(server.with_graceful_shutdown(asked).into_future());
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
        server.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_end_is_left_after_the_grace() {
        let stop = Stop::new();
        let mut parts = Parts::new(stop.clone());
        parts.start_sure("stuck", std::future::pending());
        stop.ask();
        assert!(parts.finish(Duration::from_secs(30)).await.is_ok());
    }
}
