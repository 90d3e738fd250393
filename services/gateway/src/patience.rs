//! The end of patience: a connection whose other side takes nothing of what it is sent for so long is cut off.
//!
//! What a stream of events has to say waits in the connection while its client does not read, and nobody asks the stream for more. So what
//! a client costs is bounded, and this bounds for how long.

use std::{
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use platform::clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection, and how long it waits.
pub(crate) struct Patient<S> {
    inner: S,
    limit: Duration,
    /// While the other side takes nothing: until when.
    waits: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Patient<S> {
    pub(crate) const fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, waits: None }
    }

    /// The same, or the end of patience.
    fn unless_over<T>(&mut self, written: Poll<Result<T>>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let limit = self.limit;
        let waits = self.waits.get_or_insert_with(|| Box::pin(clock::sleep(limit)));
        ready!(waits.as_mut().poll(context));
        let why = format!("nothing of what it is sent was taken for {} ms", limit.as_millis());
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, why)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.unless_over(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.unless_over(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(context);
        self.unless_over(shut, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.unless_over(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::ErrorKind,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use axum::{
        Router,
        response::sse::{Event, Sse},
        routing::get,
    };
    use hyper_util::{rt::TokioIo, service::TowerToHyperService};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::Instant,
    };

    use super::Patient;
    use crate::server::HELD_BYTES_MAX;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_is_waited_for_and_who_reads_nothing_is_not() {
        let (ours, mut theirs) = duplex(8);
        let mut ours = Patient::new(ours, LIMIT);
        let writing = tokio::spawn(async move { ours.write_all(&[7; 64]).await });
        // Never as long as it may take, and longer in all.
        for _ in 0..4 {
            tokio::time::advance(LIMIT - Duration::from_secs(1)).await;
            theirs.read_exact(&mut [0; 8]).await.unwrap();
        }
        let begun = Instant::now();
        let error = writing.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), LIMIT);
    }

    /// A stream without an end, and a client that does not read: after the limit it is over, and no more was made than fits.
    #[tokio::test(start_paused = true)]
    async fn a_listener_that_stops_reading_is_cut_off_and_costs_no_more_than_a_bounded_buffer() {
        const EVENT_BYTES: usize = 1_000;
        let made = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&made);
        let listen = move || {
            let made = Arc::clone(&counted);
            let next = move || {
                made.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::convert::Infallible>(Event::default().data("x".repeat(EVENT_BYTES)))
            };
            async move { Sse::new(futures::stream::iter(std::iter::repeat_with(next))) }
        };
        let app: Router = Router::new().route("/", get(listen));
        let (ours, mut theirs) = duplex(1_024);
        let service = TowerToHyperService::new(app);
        let http = crate::server::http(Duration::from_secs(60));
        let serving = http.serve_connection(TokioIo::new(Patient::new(ours, LIMIT)), service);
        let serving = tokio::spawn(serving);
        theirs.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        theirs.read_exact(&mut [0; 15]).await.unwrap();
        let begun = Instant::now();
        let error = serving.await.unwrap().unwrap_err();
        assert!(format!("{error:?}").contains("TimedOut"), "{error:?}");
        assert!(begun.elapsed() <= LIMIT * 2, "{:?}", begun.elapsed());
        let bytes = made.load(Ordering::Relaxed) * EVENT_BYTES;
        assert!(bytes <= HELD_BYTES_MAX + 8 * EVENT_BYTES, "{bytes}");
    }
}
