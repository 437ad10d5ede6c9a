//! The interfaces inside another network namespace, as a guest sees them.

use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::thread::ScopedJoinHandle;

use rustix::io::Errno;

use crate::socket::Purpose;
use crate::{Addr, Link, Netlink, Result};

/// Stack of a thread on tour, for whatever is done with what it finds.
const TOUR_STACK_BYTES: usize = 512 * 1024;

/// One interface with its addresses.
#[derive(Clone, Debug)]
pub struct Interface {
    /// The link as seen inside.
    pub link: Link,
    /// Its addresses.
    pub addresses: Vec<Addr>,
    /// For a veth: name of the other end in the calling thread's namespace, if it is there.
    pub host_name: Option<String>,
}

/// The interfaces of the namespace behind `netns`, for instance an open `/proc/PID/ns/net`.
pub fn interfaces_in(netns: BorrowedFd<'_>) -> Result<Vec<Interface>> {
    let mut looks = tours(&[netns], |netns, tour| tour?.interfaces_in(*netns));
    looks.pop().unwrap_or(Ok(Vec::new()))
}

/// A thread that goes from one network namespace to the next: a look into each of many is cheaper that way
/// than with a thread for each.
#[derive(Debug, Default)]
pub struct Tour {
    /// A socket in the namespace where it began, from the first look on.
    home: Option<Netlink>,
    /// The thread is not to be left.
    stays: PhantomData<*const ()>,
}

/// Runs `work` on each of `shares` at the same time, on threads of their own which may look into network namespaces, and
/// gives what came of it in the order of the shares. Whatever else such a thread opens on the network is in the
/// namespace that it looked into last. Where no thread can be had, the calling one does the work, and is told why it
/// cannot look.
pub fn tours<S: Sync, T: Send>(shares: &[S], work: impl Fn(&S, Result<&mut Tour>) -> T + Sync) -> Vec<T> {
    let purpose = Purpose { operation: "enter", subject: "network namespaces" };
    let work = &work;
    std::thread::scope(|scope| {
        let travel = |share| {
            let thread = std::thread::Builder::new().stack_size(TOUR_STACK_BYTES);
            thread.spawn_scoped(scope, move || work(share, Ok(&mut Tour::default())))
        };
        let travellers: Vec<_> = shares.iter().map(travel).collect();
        let arrive = |(share, traveller): (_, std::io::Result<ScopedJoinHandle<'_, T>>)| {
            let error = match traveller.map(ScopedJoinHandle::join) {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(_)) => purpose.malformed("the thread failed"),
                Err(error) => purpose.error(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)),
            };
            work(share, Err(error))
        };
        shares.iter().zip(travellers).map(arrive).collect()
    })
}

impl Tour {
    /// See [`interfaces_in`].
    pub fn interfaces_in(&mut self, netns: BorrowedFd<'_>) -> Result<Vec<Interface>> {
        let purpose = Purpose { operation: "enter", subject: "network namespace" };
        let home = match self.home.take() {
            Some(home) => home,
            None => Netlink::open()?,
        };
        let home = self.home.insert(home);
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(netns, kind).map_err(|errno| purpose.error(errno))?;
        let mut inside = Netlink::open()?;
        let links = inside.link_list()?;
        let addresses = inside.addr_list()?;
        let mut interfaces = Vec::with_capacity(links.len());
        for link in links {
            let host_name = match link.peer_index {
                Some(peer) if link.is_kind("veth") && link.peer_netns_id.is_some() => other_end(home, peer, link.index),
                _ => None,
            };
            let addresses = addresses.iter().filter(|addr| addr.index == link.index).copied().collect();
            interfaces.push(Interface { link, addresses, host_name });
        }
        Ok(interfaces)
    }
}

/// The peer's index counts in whichever namespace the peer is in; it is here only if the link
/// with that index points back.
fn other_end(here: &mut Netlink, peer: u32, index: u32) -> Option<String> {
    let link = here.link_by_index(peer).ok()?;
    (link.is_kind("veth") && link.peer_index == Some(index)).then_some(link.name)
}
