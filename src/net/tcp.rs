//! A TCP stream that is read with as little of the runtime's machinery as there can be: nearly all that is relayed takes this way, several times
//! for each command.

use std::{
    io,
    num::NonZero,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use rustix::net::{RecvFlags, SendFlags};
use tokio::{
    io::{AsyncRead, Interest, ReadBuf},
    net::TcpStream,
    task::coop::has_budget_remaining,
};

use super::buffers;

/// A TCP stream. If it [stays on its core](Self::stays), it knows who is woken when something comes, so that the runtime is told of a reader
/// once, and not each time that the reader looks.
#[derive(Debug)]
pub struct Tcp {
    stream: TcpStream,
    /// Whoever reads runs on the thread of the runtime that watches the stream. Elsewhere an event may be seen and taken up before its waker is
    /// taken away, and nobody would know that it is gone.
    stays: bool,
    /// Who is woken by the next bytes. Whatever reads without asking for bytes to come forgets it, for the runtime wakes a reader once.
    reader: Option<Reader>,
    /// The last read took all that it had room for, so the next is likely to find more: it asks the runtime first, which makes a task pause that
    /// would read for ever.
    is_full: bool,
}

/// Tells a waker from all others for as long as the runtime holds that waker: what it wakes cannot make room for something else meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reader(NonZero<usize>);

impl Reader {
    /// None for a waker that holds nothing.
    fn of(waker: &Waker) -> Option<Self> {
        NonZero::new(waker.data().addr()).map(Self)
    }
}

impl From<TcpStream> for Tcp {
    fn from(stream: TcpStream) -> Self {
        Self {
            stream,
            stays: false,
            reader: None,
            is_full: false,
        }
    }
}

impl Tcp {
    /// Promises that it is only read on the thread of the `current_thread` runtime that watches it.
    pub(super) fn stays(&mut self) {
        self.stays = true;
    }

    /// To look at.
    pub(super) fn inner(&self) -> &TcpStream {
        &self.stream
    }

    /// To write to.
    pub(super) fn inner_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The stream itself.
    #[must_use]
    pub fn into_inner(self) -> TcpStream {
        self.stream
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::send(&self.stream, bytes, SendFlags::NOSIGNAL)?)
        })
    }

    pub(super) fn has_news(&mut self) -> bool {
        self.reader = None;
        let read = self.stream.try_read(&mut [0; 1]);
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The runtime's own read goes through a system call at which threads can be cancelled, and would need the scratch buffer before it is known
    /// that something has come.
    pub(super) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        if self.is_full || !self.stays {
            ready!(self.stream.poll_read_ready(cx))?;
        }
        loop {
            if let Some(read) = self.receive(&mut take) {
                return Poll::Ready(read);
            }
            let reader = Reader::of(cx.waker());
            if reader.is_some() && self.reader == reader {
                return Poll::Pending;
            }
            // A task whose turn is over is not taken for a reader, but only told to come again.
            let is_heard = self.stays && has_budget_remaining();
            if self.stream.poll_read_ready(cx)?.is_pending() {
                self.reader = reader.filter(|_| is_heard);
                return Poll::Pending;
            }
        }
    }

    /// Reads what has come; `None` if the runtime knows of nothing, or what it knew of is not there.
    fn receive(&mut self, take: &mut impl FnMut(&[u8])) -> Option<io::Result<usize>> {
        let (mut received, mut is_full, mut was_woken) = (None, false, false);
        let tried = self.stream.try_io(Interest::READABLE, || {
            was_woken = true;
            buffers::scratch(|scratch| {
                let (_, count) = rustix::net::recv(&self.stream, &mut *scratch, RecvFlags::empty())?;
                take(&scratch[..count]);
                received = Some(count);
                is_full = count == scratch.len();
                // What did not fill the buffer was all there is. So the runtime is told that the next read would block, and need not
                // find out by trying; it does the same in its own reads.
                if (1..scratch.len()).contains(&count) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            })
        });
        if was_woken {
            self.reader = None;
            self.is_full = is_full;
        }
        match (received, tried) {
            (Some(count), _) => Some(Ok(count)),
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Some(Err(error)),
            (None, _) => None,
        }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.reader = None;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        task::Wake,
        time::Duration,
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::net::Stream;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Sleeper(AtomicUsize);

    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    impl Sleeper {
        /// Waits until it has been woken so often.
        async fn expect(&self, times: usize) {
            let woken = async {
                while self.0.load(SeqCst) < times {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let woken = tokio::time::timeout(Duration::from_secs(30), woken).await;
            assert!(woken.is_ok(), "nobody was woken");
            assert_eq!(self.0.load(SeqCst), times);
        }
    }

    async fn pair() -> (Tcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut stream = Tcp::from(listener.accept().await.unwrap().0);
        stream.stays();
        // An accepted stream is taken for readable at first.
        assert_eq!(look(&mut stream, &Arc::default()), None);
        (stream, peer)
    }

    /// What has come, if anything has.
    fn look(stream: &mut Tcp, sleeper: &Arc<Sleeper>) -> Option<Vec<u8>> {
        let waker = Waker::from(Arc::clone(sleeper));
        let mut read = Vec::new();
        match stream.poll_take(&mut Context::from_waker(&waker), |bytes| {
            read.extend_from_slice(bytes);
        }) {
            Poll::Ready(count) => {
                assert_eq!(count.unwrap(), read.len());
                Some(read)
            }
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn a_reader_is_woken_whenever_something_comes_however_often_it_looked_before() {
        let (mut stream, mut peer) = pair().await;
        let reader = Arc::default();
        for round in 1..=5 {
            for _ in 0..round {
                assert_eq!(look(&mut stream, &reader), None);
            }
            peer.write_all(b"news").await.unwrap();
            reader.expect(round).await;
            assert_eq!(look(&mut stream, &reader).unwrap(), b"news");
        }
        assert_eq!(look(&mut stream, &reader), None);
        drop(peer);
        reader.expect(6).await;
        assert_eq!(look(&mut stream, &reader).unwrap(), b"");
    }

    #[tokio::test]
    async fn the_last_of_two_readers_is_woken() {
        let (mut stream, mut peer) = pair().await;
        let (first, last) = (Arc::default(), Arc::default());
        assert_eq!(look(&mut stream, &first), None);
        assert_eq!(look(&mut stream, &last), None);
        peer.write_all(b"news").await.unwrap();
        last.expect(1).await;
        first.expect(0).await;
        assert_eq!(look(&mut stream, &last).unwrap(), b"news");
        assert_eq!(look(&mut stream, &first), None);
        peer.write_all(b"more").await.unwrap();
        first.expect(1).await;
    }

    #[tokio::test]
    async fn a_reader_is_woken_again_after_somebody_else_took_what_it_was_woken_for() {
        let (mut stream, mut peer) = pair().await;
        let reader = Arc::default();
        assert_eq!(look(&mut stream, &reader), None);
        peer.write_all(b"n").await.unwrap();
        reader.expect(1).await;
        assert!(stream.has_news());
        assert!(!stream.has_news());
        assert_eq!(look(&mut stream, &reader), None);
        peer.write_all(b"news").await.unwrap();
        reader.expect(2).await;
        let mut read = [0; 4];
        Stream::Tcp(stream).read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"news");
    }

    #[tokio::test]
    async fn reads_of_both_kinds_follow_each_other() {
        let (stream, mut peer) = pair().await;
        let mut stream = Stream::Tcp(stream);
        let reader = Arc::default();
        for round in 1..=3 {
            let Stream::Tcp(tcp) = &mut stream else {
                unreachable!("it is one of TCP");
            };
            assert_eq!(look(tcp, &reader), None);
            peer.write_all(b"news").await.unwrap();
            reader.expect(round).await;
            let mut read = [0; 64];
            assert_eq!(stream.read(&mut read).await.unwrap(), 4);
        }
    }

    #[tokio::test]
    async fn a_reader_whose_turn_is_over_is_woken_by_what_comes_later() {
        let (mut stream, mut peer) = pair().await;
        let (other, mut talker) = pair().await;
        talker.write_all(b"news").await.unwrap();
        other.stream.readable().await.unwrap();
        let reading = tokio::spawn(async move {
            let mut looks = 0;
            std::future::poll_fn(|cx| {
                if looks == 0 {
                    // It stays readable, so that only the end of the turn can tell otherwise.
                    while other.stream.poll_read_ready(cx)?.is_ready() {}
                }
                looks += 1;
                stream.poll_take(cx, |_| {})
            })
            .await
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        peer.write_all(b"news").await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(30), reading).await;
        assert_eq!(read.expect("the reader is woken").unwrap().unwrap(), 4);
    }

    #[tokio::test]
    async fn what_does_not_stay_on_its_core_tells_the_runtime_of_its_reader_each_time() {
        let (stream, mut peer) = pair().await;
        let mut stream = Tcp::from(stream.into_inner());
        let reader = Arc::default();
        for round in 1..=3 {
            assert_eq!(look(&mut stream, &reader), None);
            assert_eq!(stream.reader, None);
            peer.write_all(b"news").await.unwrap();
            reader.expect(round).await;
            assert_eq!(look(&mut stream, &reader).unwrap(), b"news");
        }
    }

    #[tokio::test]
    async fn a_reader_that_finds_more_and_more_pauses_when_its_turn_is_over() {
        let (mut stream, mut peer) = pair().await;
        let writing = tokio::spawn(async move {
            let some = vec![7; 4 << 20];
            while peer.write_all(&some).await.is_ok() {}
        });
        let pauses = std::future::poll_fn(|cx| {
            while !stream.is_full {
                ready!(stream.poll_take(cx, |_| {}))?;
            }
            // It stays readable, so that only the end of the task's turn can tell otherwise.
            while stream.stream.poll_read_ready(cx)?.is_ready() {}
            Poll::Ready(io::Result::Ok(stream.poll_take(cx, |_| {})?.is_pending()))
        });
        assert!(pauses.await.unwrap());
        writing.abort();
    }
}
