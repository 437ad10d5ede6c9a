//! What is saved and brought back: guests with something to lose.

use testkit::{Figures, Sandbox};

use super::services;

/// Where the program in the guest has its files.
pub const DIR: &str = "/root/check";
/// Of the server in the guest.
const PORT: u16 = 7000;
/// How many clients it has.
const CLIENTS: usize = 20;

/// A kind of guest.
pub struct Guest {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its name in the table.
    pub title: &'static str,
    /// Alias of its image.
    image: &'static str,
    /// What the program in it does.
    load: &'static str,
    /// Whether clients outside talk with it.
    has_clients: bool,
}

const fn busybox(name: &'static str, title: &'static str, load: &'static str) -> Guest {
    Guest { name, title, image: "busybox", load, has_clients: false }
}

/// All of them.
pub const GUESTS: &[Guest] = &[
    busybox("busybox", "busybox init, one of each kernel object", "run /root/check"),
    Guest { image: "debian", ..busybox("debian", "Debian 12, one of each kernel object", "run /root/check") },
    Guest { image: "services", ..busybox("services", "Debian 12 with eight services", "run /root/check") },
    busybox("memory", "1 GB of memory, being written", "eat /root/check 1024"),
    busybox("writer", "files, being written", "write /root/check"),
    Guest { has_clients: true, ..busybox("clients", "TCP server with 20 clients through the bridge", "serve /root/check 7000") },
    busybox("tree", "12 nested sessions, each on a terminal", "tree /root/check"),
];

/// What a guest is seen to have, to compare with later.
#[derive(Clone, Debug)]
pub struct Seen {
    pub figures: Figures,
    /// What must be as it was: services and their processes.
    pub fixed: String,
    /// What may only grow, by name.
    pub growing: Vec<(String, u64)>,
}

/// A running guest.
pub struct Running<'a> {
    pub guest: &'static Guest,
    pub sandbox: &'a Sandbox,
    /// Clients outside: pid and directory.
    clients: Option<(i64, String)>,
    generation: usize,
}

/// The container's name.
pub const NAME: &str = "g1";

impl Guest {
    /// Makes the image.
    pub fn prepare(&self, sandbox: &Sandbox) {
        match self.image {
            "busybox" => sandbox.build_busybox(),
            "debian" => sandbox.import_debian(),
            _ => sandbox.import_debian_with("services", "debian-12-services", services::PACKAGES),
        }
    }

    /// Launches it and waits until all of it works.
    pub fn launch<'a>(&'static self, sandbox: &'a Sandbox, ids: &str) -> Running<'a> {
        let privileged = format!("security.privileged={}", ids == "privileged");
        sandbox.lxc_ok(&["launch", self.image, NAME, "-c", "migration.stateful=true", "-c", &privileged]);
        if self.image != "busybox" {
            services::wait_systemd(sandbox);
        }
        if self.image == "services" {
            services::set_up(sandbox);
        }
        sandbox.push_checker(NAME);
        sandbox.start_checker(NAME, self.load);
        let mut running = Running { guest: self, sandbox, clients: None, generation: 0 };
        running.connect();
        running
    }
}

impl Running<'_> {
    /// New clients in place of the old ones.
    pub fn connect(&mut self) {
        if !self.guest.has_clients {
            return;
        }
        self.disconnect();
        self.generation += 1;
        let dir = self.sandbox.dir().join(format!("clients{}", self.generation)).display().to_string();
        let address = services::address(self.sandbox);
        let pid = self.sandbox.start_checker_outside(&format!("connect {dir} {CLIENTS} {address} {PORT}"));
        self.clients = Some((pid, dir));
    }

    fn disconnect(&mut self) {
        if let Some((pid, _)) = self.clients.take() {
            self.sandbox.sh(&format!("kill {pid}"));
        }
    }

    /// Whether everything is whole now.
    pub fn look(&self) -> Result<Seen, String> {
        let figures = self.sandbox.verify(NAME, DIR)?;
        let (mut fixed, mut growing) = (String::new(), Vec::new());
        match self.guest.image {
            "debian" => fixed = services::check_systemd(self.sandbox, "systemd-journald systemd-networkd dbus check")?,
            "services" => (fixed, growing) = services::check(self.sandbox)?,
            _ => {}
        }
        if let Some((_, dir)) = &self.clients {
            let theirs = self.sandbox.verify_outside(dir).map_err(|reason| format!("clients: {reason}"))?;
            growing = (0..CLIENTS).map(|id| (format!("client{id}"), theirs.get(&format!("client{id}")))).collect();
        }
        Ok(Seen { figures, fixed, growing })
    }

    /// Looks again until all clients have gone on: TCP waits longer and longer before it tries again.
    pub fn look_until_clients_go_on(&self, before: &Seen) -> Result<Seen, String> {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let now = self.look()?;
            let stuck = before.growing.iter().zip(&now.growing).find(|(old, new)| self.guest.has_clients && new.1 <= old.1 + 10);
            match stuck {
                None => return Ok(now),
                Some(((name, _), _)) if std::time::Instant::now() > end => return Err(format!("{name} does not go on")),
                Some(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.disconnect();
    }
}
