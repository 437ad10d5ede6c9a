//! The files of a custom volume on their way between two servers: unlike an instance's, nothing lies beside them.

use std::path::Path;

use migration::RsyncFeatures;
use runtime::transfer::{Direction, Transfer};

use super::tree::{Way, exchange, options};
use super::{Peer, Progress};
use crate::error::Context;
use crate::{Engine, Result};

/// A directory whose content is sent or received.
pub(crate) struct Content<'a> {
    pub engine: &'a Engine,
    pub path: &'a Path,
    pub features: RsyncFeatures,
}

impl Content<'_> {
    /// Sends it. Nobody writes to it meanwhile.
    pub fn send(&self, peer: &Peer, progress: &Progress<'_>) -> Result<()> {
        let what = "send files";
        let transfer = self.start(Direction::Send).context(what)?;
        let count = |_: Way, bytes: usize| progress.add(bytes);
        let ended = exchange(&peer.data, transfer, &count, None).context(what);
        progress.show();
        ended.map(drop).map_err(|error| peer.explained(error))
    }

    /// Receives it: afterwards it is what the other server has.
    pub fn receive(&self, peer: &Peer, progress: &Progress<'_>) -> Result<()> {
        let what = "receive files";
        let transfer = self.start(Direction::Receive).context(what)?;
        let count = |way: Way, bytes: usize| {
            if way == Way::In {
                progress.add(bytes);
            }
        };
        let received = exchange(&peer.data, transfer, &count, Some(self.path)).context(what);
        progress.show();
        received.map(drop).map_err(|error| peer.explained(error))
    }

    fn start(&self, direction: Direction) -> Result<Transfer> {
        let files = runtime::Rootfs::Dir { path: self.path.to_owned() };
        let options = runtime::transfer::TransferOptions { is_bare: true, ..options(self.features) };
        self.engine.runtime.transfer(&files, direction, options, |_| Ok(())).context("start the transfer")
    }
}
