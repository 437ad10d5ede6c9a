//! How many clients a second can open a connection over the network, show their certificate and ask something.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::measure::median;
use super::subject::Subject;

const ADDRESS: &str = "127.0.0.1:18443";
/// One for each processor of the machine that the goals are for.
const CLIENTS: usize = 2;
/// How long each of them goes on, seconds.
const SECONDS: &str = "3";

/// What a thousand new connections take, milliseconds. The clients are `openssl s_time`, on the same machine.
pub(super) fn new_connections(subject: &Subject, rounds: usize) -> Result<f64> {
    let dir = subject.socket().with_file_name("bench-client");
    fs::create_dir_all(&dir)?;
    let (certificate, key) = (dir.join("client.crt"), dir.join("client.key"));
    let mut make = openssl(&["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=bench"]);
    make.arg("-out").arg(&certificate).arg("-keyout").arg(&key);
    ensure!(make.output().context("run openssl (Debian package openssl)")?.status.success(), "openssl made no certificate");
    subject.lxc(&["config", "trust", "add", &certificate.display().to_string()])?;
    subject.lxc(&["config", "set", "core.https_address", ADDRESS])?;
    let value = median(rounds.min(3), || {
        let start = Instant::now();
        let clients = (0..CLIENTS).map(|_| {
            let mut client = openssl(&["s_time", "-connect", ADDRESS, "-new", "-www", "/1.0/profiles", "-time", SECONDS]);
            client.arg("-cert").arg(&certificate).arg("-key").arg(&key).spawn()
        });
        let clients = clients.collect::<std::io::Result<Vec<_>>>()?;
        let mut count = 0;
        for client in clients {
            let output = client.wait_with_output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            count += connections(&text).with_context(|| format!("openssl s_time: {text}"))?;
        }
        ensure!(count > 0, "no connection was made");
        Ok(Duration::from_secs_f64(start.elapsed().as_secs_f64() / f64::from(count) * 1000.0))
    });
    subject.lxc(&["config", "unset", "core.https_address"])?;
    value
}

fn openssl(args: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// How many it says that it made.
fn connections(text: &str) -> Option<u32> {
    let line = text.lines().find(|line| line.contains(" connections in ") && line.contains(" real seconds"))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::connections;

    #[test]
    fn what_openssl_says() {
        let text = "Collecting connection statistics for 1 seconds\n***\n\n42 connections in 0.03s; 1400 connections/user sec\n\
                    42 connections in 2 real seconds, 100 bytes read per connection\n";
        assert_eq!((connections(text), connections("error")), (Some(42), None));
    }
}
