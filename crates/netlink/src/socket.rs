//! The socket: one request, then its replies until the kernel says that they are complete.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags};
use sys::Errno;

use crate::{Error, Result};

/// How long one reply may take. The kernel holds one lock for all link changes of the machine,
/// and the end of many namespaces at once can hold it for seconds.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// Room for the largest datagram that the kernel makes for a listing.
const BUFFER_BYTES: usize = 32 * 1024;
/// Datagrams accepted for one request; 32 KiB each, so far more than any real listing has.
const MAX_DATAGRAMS: usize = 4096;
/// How often a listing is started again because links changed while it ran.
const MAX_LIST_TRIES: usize = 8;
/// Stack of the thread that enters another namespace to open a socket there.
const OPENER_STACK_BYTES: usize = 64 * 1024;

/// `sizeof(struct nlmsghdr)`.
const NETLINK_HEADER_LEN: usize = 16;
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
/// Attribute of an extended acknowledgement: the reason as text (linux/netlink.h).
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A socket bound to one network namespace. Methods take `&mut self` since a request and its
/// replies must not mix with another's; opening one more is cheap.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// Codes of errors: their numbers, negative.
const ERRORS: std::ops::Range<i32> = -4095..0;

/// What a request is for, as it appears in errors.
#[derive(Clone, Copy)]
pub(crate) struct Purpose<'a> {
    pub operation: &'static str,
    pub subject: &'a str,
}

impl Purpose<'_> {
    pub(crate) fn error(self, errno: Errno) -> Error {
        Error::errno(self.operation, self.subject, errno)
    }

    pub(crate) fn malformed(self, reason: impl ToString) -> Error {
        Error::Malformed { operation: self.operation, subject: self.subject.to_owned(), reason: reason.to_string() }
    }
}

/// One message of a reply: its type and its content.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(u16, &[u8]) -> std::result::Result<(), DecodeError>;

pub(crate) enum Progress {
    More,
    Complete,
}

impl Netlink {
    /// Opens a socket in the current network namespace of the calling thread.
    pub fn open() -> Result<Self> {
        let purpose = Purpose { operation: "open", subject: "netlink socket" };
        let io_error = |error: std::io::Error| purpose.error(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(io_error)?;
        socket.bind_auto().map_err(io_error)?;
        // Reasons in words instead of a bare error number, without the request repeated.
        socket.set_ext_ack(true).map_err(io_error)?;
        socket.set_cap_ack(true).map_err(io_error)?;
        set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(REPLY_TIMEOUT)).map_err(|errno| purpose.error(errno))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Opens a socket in another network namespace (an open `/proc/PID/ns/net` or a bind mount
    /// of one). A thread of its own enters the namespace and ends; the socket stays there.
    pub fn open_in(netns: BorrowedFd<'_>) -> Result<Self> {
        let purpose = Purpose { operation: "enter", subject: "network namespace" };
        std::thread::scope(|scope| {
            let opener = std::thread::Builder::new().stack_size(OPENER_STACK_BYTES).spawn_scoped(scope, || {
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(netns, kind).map_err(|errno| purpose.error(errno))?;
                Self::open()
            });
            let opener = opener.map_err(|error| purpose.error(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)))?;
            opener.join().unwrap_or_else(|_| Err(purpose.malformed("the thread failed")))
        })
    }

    /// Sends a change and waits for its acknowledgement.
    pub(crate) fn change(&mut self, purpose: Purpose<'_>, flags: u16, message: RouteNetlinkMessage) -> Result<()> {
        self.exchange(purpose, flags | NLM_F_ACK, message, &mut |_, _| Ok(())).map(drop)
    }

    /// Asks for one object.
    pub(crate) fn get(&mut self, purpose: Purpose<'_>, message: RouteNetlinkMessage, visit: Visit<'_>) -> Result<()> {
        self.exchange(purpose, NLM_F_ACK, message, visit).map(drop)
    }

    /// Asks for a listing. It starts again when the kernel reports that it is inconsistent;
    /// `begin` empties what was collected.
    pub(crate) fn list<T>(
        &mut self,
        purpose: Purpose<'_>,
        message: &RouteNetlinkMessage,
        parse: impl Fn(u16, &[u8]) -> std::result::Result<Option<T>, DecodeError>,
    ) -> Result<Vec<T>> {
        for _ in 0..MAX_LIST_TRIES {
            let mut items = Vec::new();
            let interrupted = self.exchange(purpose, NLM_F_DUMP, message.clone(), &mut |kind, content| {
                items.extend(parse(kind, content)?);
                Ok(())
            })?;
            if !interrupted {
                return Ok(items);
            }
        }
        Err(purpose.error(Errno::AGAIN))
    }

    /// Returns whether the kernel marked a listing as interrupted by a change.
    fn exchange(&mut self, purpose: Purpose<'_>, flags: u16, message: RouteNetlinkMessage, visit: Visit<'_>) -> Result<bool> {
        self.send(purpose, flags | NLM_F_REQUEST, message)?;
        let mut interrupted = false;
        for _ in 0..MAX_DATAGRAMS {
            let length = self.receive(purpose)?;
            let progress = read_datagram(purpose, (&self.buffer[..length], self.sequence), &mut interrupted, visit)?;
            if let Progress::Complete = progress {
                return Ok(interrupted);
            }
        }
        Err(purpose.malformed("too many messages"))
    }

    fn send(&mut self, purpose: Purpose<'_>, flags: u16, message: RouteNetlinkMessage) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        loop {
            match rustix::net::send(self.socket.as_fd(), &bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(purpose.error(errno)),
            }
        }
    }

    fn receive(&mut self, purpose: Purpose<'_>) -> Result<usize> {
        loop {
            match rustix::net::recv(self.socket.as_fd(), &mut self.buffer[..], RecvFlags::TRUNC) {
                Ok((_, length)) if length > self.buffer.len() => return Err(purpose.malformed("too long")),
                Ok((_, length)) => return Ok(length),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let (operation, subject) = (purpose.operation, purpose.subject.to_owned());
                    return Err(Error::Timeout { operation, subject, seconds: REPLY_TIMEOUT.as_secs() });
                }
                Err(errno) => return Err(purpose.error(errno)),
            }
        }
    }
}

/// Handles the messages of one datagram that answer the request of a number.
pub(crate) fn read_datagram(
    purpose: Purpose<'_>,
    (mut rest, sequence): (&[u8], u32),
    interrupted: &mut bool,
    visit: Visit<'_>,
) -> Result<Progress> {
    while rest.len() >= NETLINK_HEADER_LEN {
        let reply = NetlinkBuffer::new_checked(rest).map_err(|error| purpose.malformed(error))?;
        *interrupted |= reply.flags() & NLM_F_DUMP_INTR != 0;
        // A reply to an earlier request that timed out is passed over.
        if reply.sequence_number() == sequence
            && let Progress::Complete = accept(purpose, &reply, visit)?
        {
            return Ok(Progress::Complete);
        }
        let aligned = (reply.length() as usize).next_multiple_of(4);
        rest = rest.get(aligned..).unwrap_or_default();
    }
    Ok(Progress::More)
}

/// Handles one message of the reply.
fn accept(purpose: Purpose<'_>, reply: &NetlinkBuffer<&[u8]>, visit: Visit<'_>) -> Result<Progress> {
    let content = reply.payload();
    match reply.message_type() {
        NLMSG_NOOP => Ok(Progress::More),
        NLMSG_OVERRUN => Err(purpose.malformed("data was lost")),
        NLMSG_ERROR | NLMSG_DONE => match code(content) {
            0 => Ok(Progress::Complete),
            // No kernel says anything else, and no error has such a number.
            code if !ERRORS.contains(&code) => Err(purpose.malformed(format!("the error {code}"))),
            code => {
                let errno = Errno::from_raw_os_error(code.saturating_neg());
                // After the code an error repeats the request's header; DONE does not.
                let skip = if reply.message_type() == NLMSG_ERROR { 4 + NETLINK_HEADER_LEN } else { 4 };
                let has_text = reply.flags() & NLM_F_ACK_TLVS != 0;
                let message = has_text.then(|| explanation(content.get(skip..).unwrap_or_default())).flatten();
                Err(Error::kernel(purpose.operation, purpose.subject, errno, message))
            }
        },
        kind => visit(kind, content).map(|()| Progress::More).map_err(|error| purpose.malformed(error)),
    }
}

/// The error code at the start of an acknowledgement: zero or a negative error number.
fn code(content: &[u8]) -> i32 {
    content.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes))
}

fn explanation(attributes: &[u8]) -> Option<String> {
    let attribute = NlasIterator::new(attributes).map_while(std::result::Result::ok).find(|nla| nla.kind() == NLMSGERR_ATTR_MSG)?;
    netlink_packet_core::parse_string(attribute.value()).ok()
}
