//! Traffic shaping: a token bucket for what leaves by a link, and for what comes in by it.
//!
//! The kernel can only queue what leaves. What comes in is therefore sent on to a link of the kind `ifb`
//! first, and leaves that one through a token bucket: tc-tbf(8), tc-mirred(8), tc-u32(8).

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Nla};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use sys::Errno;

use crate::link::new_link;
use crate::socket::{Netlink, Purpose};
use crate::{Error, Result};

// Attributes and constants of linux/pkt_sched.h, linux/pkt_cls.h and linux/tc_act/tc_mirred.h.
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TC_U32_TERMINAL: u8 = 1;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
const TC_ACT_STOLEN: u32 = 4;
const TCA_EGRESS_REDIR: u32 = 1;
const NLA_F_NESTED: u16 = 1 << 15;
const ETH_P_ALL: u16 = 3;

/// Packets of a veth are up to 64 KiB before they are cut; a bucket that is smaller would cut every one.
const MIN_BURST_BYTES: u64 = 64 << 10;
/// What may wait is what passes in this time, beyond the burst.
const MAX_WAIT_MS: u64 = 100;

impl Netlink {
    /// Bounds what leaves by a link to so many bits in each second, in place of an earlier bound.
    pub fn shape(&mut self, index: u32, bits_per_second: u64) -> Result<()> {
        let mut message = message_for(index, TcHandle { major: 1, minor: 0 }, TcHandle::ROOT);
        message.attributes = vec![TcAttribute::Kind("tbf".into()), TcAttribute::Options(token_bucket(bits_per_second))];
        let request = RouteNetlinkMessage::NewQueueDiscipline(message);
        self.shaping("limit the traffic of", index, "sch_tbf", NLM_F_CREATE | NLM_F_REPLACE, request)
    }

    /// Lifts the bound.
    pub fn unshape(&mut self, index: u32) -> Result<()> {
        let message = message_for(index, TcHandle::UNSPEC, TcHandle::ROOT);
        absent_is_fine(self.shaping("lift the limit of", index, "sch_tbf", 0, RouteNetlinkMessage::DelQueueDiscipline(message)))
    }

    /// Sends all that comes in by a link on through another one, in place of what was done before.
    pub fn redirect(&mut self, index: u32, through: u32) -> Result<()> {
        self.stop_redirecting(index)?;
        let own = TcHandle { major: 0xffff, minor: 0 };
        let mut ingress = message_for(index, own, TcHandle::INGRESS);
        ingress.attributes = vec![TcAttribute::Kind("ingress".into())];
        let request = RouteNetlinkMessage::NewQueueDiscipline(ingress);
        self.shaping("redirect the traffic of", index, "sch_ingress", NLM_F_CREATE | NLM_F_EXCL, request)?;
        let mut filter = message_for(index, TcHandle::UNSPEC, own);
        // Priority and protocol, the latter as on the wire.
        filter.header.info = (1 << 16) | u32::from(ETH_P_ALL.to_be());
        filter.attributes = vec![TcAttribute::Kind("u32".into()), TcAttribute::Options(everything_to(through))];
        let request = RouteNetlinkMessage::NewTrafficFilter(filter);
        self.shaping("redirect the traffic of", index, "cls_u32 and act_mirred", NLM_F_CREATE | NLM_F_EXCL, request)
    }

    /// Lets what comes in by a link in again.
    pub fn stop_redirecting(&mut self, index: u32) -> Result<()> {
        let message = message_for(index, TcHandle { major: 0xffff, minor: 0 }, TcHandle::INGRESS);
        let request = RouteNetlinkMessage::DelQueueDiscipline(message);
        absent_is_fine(self.shaping("stop redirecting", index, "sch_ingress", 0, request))
    }

    /// Makes a link that only delays what is sent on to it, and sets it up.
    pub fn create_ifb(&mut self, name: &str) -> Result<()> {
        let mut message = new_link(name, None, None);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]));
        let made = self.change(
            Purpose { operation: "create link", subject: name },
            NLM_F_CREATE | NLM_F_EXCL,
            RouteNetlinkMessage::NewLink(message),
        );
        made.map_err(|error| name_what_is_missing(error, "ifb"))
    }

    fn shaping(&mut self, operation: &'static str, index: u32, module: &str, flags: u16, request: RouteNetlinkMessage) -> Result<()> {
        let subject = self.link_by_index(index).map_or_else(|_| format!("interface {index}"), |link| link.name);
        let result = self.change(Purpose { operation, subject: &subject }, flags, request);
        result.map_err(|error| name_what_is_missing(error, module))
    }
}

/// A kernel without a module says no more than that something does not exist or is not supported.
fn name_what_is_missing(error: Error, module: &str) -> Error {
    match error {
        Error::Kernel { operation, subject, errno: errno @ (Errno::NOENT | Errno::OPNOTSUPP), .. } => {
            let reason = format!("this kernel lacks {module}; a kernel that has it is needed, or the limit must be unset");
            Error::Kernel { operation, subject, errno, reason }
        }
        other => other,
    }
}

fn absent_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if matches!(error.kernel_errno(), Some(Errno::NOENT | Errno::INVAL | Errno::NODEV)) => Ok(()),
        other => other,
    }
}

fn message_for(index: u32, handle: TcHandle, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.handle = handle;
    message.header.parent = parent;
    message
}

/// Options of a token bucket. Its depth is what passes in a fiftieth of a second, but at least a large packet.
fn token_bucket(bits_per_second: u64) -> Vec<TcOption> {
    let rate = (bits_per_second / 8).max(1);
    let burst = (rate / 50).max(MIN_BURST_BYTES);
    let waiting = burst.saturating_add(rate.saturating_mul(MAX_WAIT_MS) / 1000);
    let u32_of = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    // struct tc_tbf_qopt: two of struct tc_ratespec, which ends in the rate, then limit, buffer, mtu.
    let mut parms = vec![0; 36];
    parms[8..12].copy_from_slice(&u32_of(rate).to_ne_bytes());
    parms[24..28].copy_from_slice(&u32_of(waiting).to_ne_bytes());
    let mut options = vec![option(TCA_TBF_PARMS, parms), option(TCA_TBF_BURST, u32_of(burst).to_ne_bytes().to_vec())];
    if rate > u64::from(u32::MAX) {
        options.push(option(TCA_TBF_RATE64, rate.to_ne_bytes().to_vec()));
    }
    options
}

/// A filter that takes every packet and sends it on.
fn everything_to(link: u32) -> Vec<TcOption> {
    // struct tc_u32_sel with one key that compares nothing.
    let mut selector = vec![0; 32];
    selector[0] = TC_U32_TERMINAL;
    selector[2] = 1;
    // struct tc_mirred: index, capab, action, refcnt, bindcnt, eaction, ifindex.
    let mut mirred = vec![0; 28];
    mirred[8..12].copy_from_slice(&TC_ACT_STOLEN.to_ne_bytes());
    mirred[20..24].copy_from_slice(&TCA_EGRESS_REDIR.to_ne_bytes());
    mirred[24..28].copy_from_slice(&link.to_ne_bytes());
    let action = nested(TCA_ACT_OPTIONS, &[(TCA_MIRRED_PARMS, mirred)]);
    let first = nested(1, &[(TCA_ACT_KIND, b"mirred\0".to_vec()), action]);
    let (kind, content) = nested(TCA_U32_ACT, &[first]);
    vec![option(TCA_U32_SEL, selector), option(kind, content)]
}

fn option(kind: u16, content: Vec<u8>) -> TcOption {
    TcOption::Other(DefaultNla::new(kind, content))
}

/// An attribute that holds others.
fn nested(kind: u16, attributes: &[(u16, Vec<u8>)]) -> (u16, Vec<u8>) {
    let attributes: Vec<DefaultNla> = attributes.iter().map(|(kind, content)| DefaultNla::new(*kind, content.clone())).collect();
    let length: usize = attributes.iter().map(|attribute| (4 + attribute.value_len()).next_multiple_of(4)).sum();
    let mut content = vec![0; length];
    netlink_packet_core::Emitable::emit(&attributes.as_slice(), &mut content);
    (kind | NLA_F_NESTED, content)
}
