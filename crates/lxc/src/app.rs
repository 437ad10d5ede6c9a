//! What every command works with: the user's configuration and clients of servers.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Result, bail};
use client::Client;

use crate::config::Config;
use crate::missing::{self, Subject};
use crate::names::{self, Target};
use crate::remotes;

/// State of one run of the program.
#[derive(Debug)]
pub struct App {
    /// The user's configuration.
    pub config: Config,
    /// No progress lines.
    pub quiet: bool,
    clients: RefCell<BTreeMap<String, Client>>,
    subjects: RefCell<Vec<Subject>>,
}

impl App {
    /// Nothing is connected before a command asks something of a server.
    pub fn new(config: Config, quiet: bool) -> Self {
        Self { config, quiet, clients: RefCell::default(), subjects: RefCell::default() }
    }

    /// Splits `[REMOTE:]NAME`; a server that is not configured is an error.
    pub fn target(&self, text: &str) -> Result<Target> {
        let target = names::parse(text, &self.config.default_remote);
        self.config.remote(&target.remote)?;
        Ok(target)
    }

    /// A client of a server.
    pub fn client(&self, remote: &str) -> Result<Client> {
        if let Some(client) = self.clients.borrow().get(remote) {
            return Ok(client.clone());
        }
        let client = Client::new(remotes::transport(&self.config, remote, self.config.remote(remote)?)?);
        self.clients.borrow_mut().insert(remote.to_owned(), client.clone());
        Ok(client)
    }

    /// The server and the name behind `[REMOTE:]NAME`.
    pub fn resolve(&self, text: &str) -> Result<(Client, String)> {
        let target = self.target(text)?;
        Ok((self.client(&target.remote)?, target.name))
    }

    /// Like [`App::resolve`] where a name is needed; `what` is a kind that [`missing`] knows.
    pub fn resolve_named(&self, text: &str, what: &'static str) -> Result<(Client, String)> {
        let (client, name) = self.resolve(text)?;
        if name.is_empty() {
            bail!("{what} name is mandatory");
        }
        self.note(what, &name);
        Ok((client, name))
    }

    /// Remembers what a command works on, for errors that do not name it. The last of a kind
    /// counts: where there are several, they are worked on one after the other.
    pub fn note(&self, kind: &'static str, name: &str) {
        self.note_subject(Subject::new(kind, name));
    }

    /// Like [`App::note`], with the command that lists what there is of that kind.
    pub fn note_listed(&self, kind: &'static str, name: &str, list: &str) {
        self.note_subject(Subject { list: list.to_owned(), ..Subject::new(kind, name) });
    }

    fn note_subject(&self, subject: Subject) {
        if subject.name.is_empty() {
            return;
        }
        let mut subjects = self.subjects.borrow_mut();
        subjects.retain(|known| known.kind != subject.kind);
        subjects.push(subject);
    }

    /// An error's text for the user.
    pub fn describe(&self, error: &anyhow::Error) -> String {
        missing::describe(error, &self.subjects.borrow())
    }

    /// The server of an optional `[REMOTE:]` argument.
    pub fn server(&self, text: Option<&str>) -> Result<Client> {
        let target = self.target(text.unwrap_or(""))?;
        if !target.name.is_empty() {
            bail!("Expected a remote, \"{}\" is a name", target.name);
        }
        self.client(&target.remote)
    }
}
