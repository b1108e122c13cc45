//! One netlink socket in one namespace, and the requests on it.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_proto::ReplyExpectation;
use netlink_proto::sys::{AsyncSocket, SocketAddr, protocols};
use nix::sys::socket::{setsockopt, sockopt};

use super::error::{NetlinkError, Refusal};
use super::namespace::{Namespace, run_in};

/// How long an answer is waited for. The kernel answers in microseconds; a lost acknowledgement
/// (ENOBUFS) would otherwise be waited for without end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Room for the answers to a batch whose every message fails, and for large dumps.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Messages in one batch. At 50 to 80 octets each this stays below 16 KiB: larger batches of FDB
/// entries are slower in the kernel than single ones (measured on 6.18).
pub(crate) const BATCH_MAX: usize = 192;

/// A connection for links, addresses, routes, rules and neighbours.
pub type Connection = Channel<RouteNetlinkMessage>;

/// One netlink socket of one namespace. It is driven by the request under way, not by a task, so
/// dropping it closes the socket and lets go of the namespace at once.
pub struct Channel<T>
where
    T: Debug + NetlinkSerializable + NetlinkDeserializable,
{
    driver: netlink_proto::Connection<T>,
    handle: netlink_proto::ConnectionHandle<T>,
    unsolicited: Pin<Box<dyn Stream<Item = (NetlinkMessage<T>, SocketAddr)> + Send>>,
}

/// A message and its flags beyond `NLM_F_REQUEST`.
pub(crate) type Request<T> = (T, u16);

impl Channel<RouteNetlinkMessage> {
    /// Opens a socket in a namespace. It stays there; it keeps the namespace alive as long as it
    /// is open. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`NetlinkError::Io`] when the namespace cannot be entered (root is needed).
    pub async fn open(namespace: &Namespace) -> Result<Self, NetlinkError> {
        Self::open_protocol(namespace, protocols::NETLINK_ROUTE).await
    }
}

impl<T> Channel<T>
where
    T: Debug + NetlinkSerializable + NetlinkDeserializable + Unpin + Send + 'static,
{
    /// Opens a socket of a netlink protocol in a namespace.
    pub(crate) async fn open_protocol(
        namespace: &Namespace,
        protocol: isize,
    ) -> Result<Self, NetlinkError> {
        let runtime = tokio::runtime::Handle::current();
        let namespace = namespace.try_clone()?;
        let opened = tokio::task::spawn_blocking(move || {
            run_in(&namespace, || {
                let _runtime = runtime.enter();
                Self::open_here(protocol)
            })
        });
        opened
            .await
            .map_err(|e| NetlinkError::io("open a netlink socket", std::io::Error::other(e)))??
    }

    fn open_here(protocol: isize) -> Result<Self, NetlinkError> {
        let failed = |source| NetlinkError::io("open a netlink socket", source);
        let (mut driver, handle, unsolicited) =
            netlink_proto::new_connection::<T>(protocol).map_err(failed)?;
        driver.set_forward_ack(true);
        let socket = driver.socket_mut().socket_mut();
        socket.set_ext_ack(true).map_err(failed)?;
        socket.set_cap_ack(true).map_err(failed)?;
        if protocol == protocols::NETLINK_ROUTE {
            socket.set_netlink_get_strict_chk(true).map_err(failed)?;
        }
        // Without the right to exceed the system's bound the default has to do.
        if setsockopt(&*socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            tracing::debug!(fd = socket.as_raw_fd(), "netlink receive buffer stays small");
        }
        Ok(Self { driver, handle, unsolicited: Box::pin(unsolicited) })
    }

    /// Sends one request and waits until it is acknowledged; returns what came before that.
    pub(crate) async fn request(
        &mut self,
        doing: impl FnOnce() -> String,
        (message, flags): Request<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        self.converse(doing, message, flags | NLM_F_ACK).await
    }

    /// Sends one request whose answer does not matter beyond success.
    pub(crate) async fn change(
        &mut self,
        doing: impl FnOnce() -> String,
        request: Request<T>,
    ) -> Result<(), NetlinkError> {
        self.request(doing, request).await.map(drop)
    }

    /// Asks for all objects of a kind.
    pub(crate) async fn dump(
        &mut self,
        doing: impl FnOnce() -> String,
        message: T,
    ) -> Result<Vec<T>, NetlinkError> {
        self.converse(doing, message, NLM_F_DUMP).await
    }

    async fn converse(
        &mut self,
        doing: impl FnOnce() -> String,
        message: T,
        flags: u16,
    ) -> Result<Vec<T>, NetlinkError> {
        let message = (message_of(message, flags), ReplyExpectation::Expected);
        let answers = match self.exchange(vec![message]).await {
            Ok(answers) => answers,
            Err(lost) => return Err(lost.into_error(doing())),
        };
        let mut received = Vec::new();
        for answer in answers {
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => received.push(inner),
                NetlinkPayload::Error(error) => {
                    if let Some(refusal) = Refusal::decode(&error) {
                        return Err(NetlinkError::Refused { doing: doing(), refusal });
                    }
                }
                NetlinkPayload::Overrun(_) => {
                    return Err(NetlinkError::Overrun { doing: doing() });
                }
                _ => {}
            }
        }
        Ok(received)
    }

    /// Sends messages as one datagram and collects the answers to those of which one is expected.
    pub(crate) async fn exchange(
        &mut self,
        messages: Vec<(NetlinkMessage<T>, ReplyExpectation)>,
    ) -> Result<Vec<NetlinkMessage<T>>, Lost> {
        // What an earlier request left behind is of no interest to this one.
        while self.unsolicited.next().now_or_never().flatten().is_some() {}
        let kernel = SocketAddr::new(0, 0);
        let sent = self.handle.request_batch_with_expectation(messages, kernel);
        let mut answers = sent.map_err(|_| Lost::Closed)?;
        let mut received = Vec::new();
        while let Some(answer) = self.next(&mut answers).await? {
            received.push(answer);
        }
        Ok(received)
    }

    /// Sends requests as one datagram with one acknowledgement, for the last. Returns the refusals
    /// by index; all other requests were carried out.
    ///
    /// # Errors
    /// Fails as a whole when the answers were lost: then any part may have been carried out.
    pub(crate) async fn batch(
        &mut self,
        doing: impl Fn() -> String,
        requests: Vec<Request<T>>,
    ) -> Result<Vec<(usize, Refusal)>, NetlinkError> {
        debug_assert!(requests.len() <= BATCH_MAX, "a batch stays below 16 KiB");
        let count = requests.len();
        let messages = requests.into_iter().enumerate().map(|(index, (message, flags))| {
            if index + 1 < count {
                (message_of(message, flags), ReplyExpectation::NotExpected)
            } else {
                (message_of(message, flags | NLM_F_ACK), ReplyExpectation::Expected)
            }
        });
        let messages: Vec<_> = messages.collect();
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut answers = match self.exchange(messages).await {
            Ok(answers) => answers,
            Err(lost) => return Err(lost.into_error(doing())),
        };
        let Some(last) = answers.pop() else {
            return Err(NetlinkError::Closed { doing: doing() });
        };
        self.refusals(&last, count).ok_or_else(|| NetlinkError::Overrun { doing: doing() })
    }

    /// Collects the refusals of a batch whose last message was just answered. The kernel answers
    /// in order, so those of earlier messages have all arrived. `None` when answers were lost.
    fn refusals(
        &mut self,
        last: &NetlinkMessage<T>,
        count: usize,
    ) -> Option<Vec<(usize, Refusal)>> {
        let last_sequence = last.header.sequence_number;
        let mut refusals = Vec::new();
        while let Some((answer, _)) = self.unsolicited.next().now_or_never().flatten() {
            match &answer.payload {
                NetlinkPayload::Error(error) => {
                    let before = last_sequence.wrapping_sub(answer.header.sequence_number) as usize;
                    if let (Some(refusal), true) = (Refusal::decode(error), before < count) {
                        refusals.push((count - 1 - before, refusal));
                    }
                }
                NetlinkPayload::Overrun(_) => return None,
                _ => {}
            }
        }
        if let NetlinkPayload::Error(error) = &last.payload
            && let Some(refusal) = Refusal::decode(error)
        {
            refusals.push((count - 1, refusal));
        }
        Some(refusals)
    }

    /// Drives the socket until the next answer.
    async fn next<S>(&mut self, answers: &mut S) -> Result<Option<NetlinkMessage<T>>, Lost>
    where
        S: Stream<Item = NetlinkMessage<T>> + Unpin,
    {
        let driver = &mut self.driver;
        let answer = poll_fn(|cx| {
            let closed = Pin::new(&mut *driver).poll(cx).is_ready();
            match answers.poll_next_unpin(cx) {
                Poll::Ready(answer) => Poll::Ready(Ok(answer)),
                Poll::Pending if closed => Poll::Ready(Err(Lost::Closed)),
                Poll::Pending => Poll::Pending,
            }
        });
        tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or(Err(Lost::Timeout))
    }
}

/// A message with its header.
pub(crate) fn message_of<T>(message: T, flags: u16) -> NetlinkMessage<T> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message))
}

/// Why no answer came.
#[derive(Debug)]
pub(crate) enum Lost {
    Closed,
    Timeout,
}

impl Lost {
    pub(crate) fn into_error(self, doing: String) -> NetlinkError {
        match self {
            Self::Closed => NetlinkError::Closed { doing },
            Self::Timeout => NetlinkError::Timeout { doing, seconds: ANSWER_TIMEOUT.as_secs() },
        }
    }
}

impl<T> Debug for Channel<T>
where
    T: Debug + NetlinkSerializable + NetlinkDeserializable,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}
