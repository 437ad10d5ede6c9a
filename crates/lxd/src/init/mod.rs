//! `lxd init`: storage, network and the default profile of a fresh installation.
//!
//! Every way of asking (questions, `--auto`, `--preseed`) ends in the same [`Preseed`], which
//! [`apply`] makes true over the API, and takes back when something fails half-way.

mod apply;
mod auto;
mod backend;
mod dump;
mod interactive;
mod preseed;
mod prompt;

use std::io::{IsTerminal, Read};

use anyhow::{Context, Result, ensure};
use client::Client;

use crate::args::InitArgs;
use crate::paths::Paths;
use backend::HostFacts;
use preseed::Preseed;
use prompt::Prompt;

/// Longest preseed that is read, in bytes.
const MAX_PRESEED_BYTES: u64 = 4 << 20;

/// Sets up as the arguments say.
pub fn run(args: &InitArgs, paths: &Paths) -> Result<()> {
    check_flags(args)?;
    let runtime = crate::client_runtime()?;
    // What was given is checked before the daemon is troubled.
    let given = if args.preseed { Some(read_preseed()?) } else { None };
    let client = runtime.block_on(Client::connect_unix(paths.socket())).context("Unable to talk to LXD")?;
    if args.dump {
        let state = runtime.block_on(dump::read(&client, &paths.dir))?;
        print!("{}", state.to_yaml()?);
        return Ok(());
    }
    let (wanted, is_interactive) = match given {
        Some(given) => (given, false),
        None if args.auto || args.minimal => {
            let present = runtime.block_on(auto::Present::read(&client))?;
            (auto::decide(args, &HostFacts::read(paths), &present)?, false)
        }
        None => {
            let present = runtime.block_on(auto::Present::read(&client))?;
            (interactive::ask(&mut terminal(), &HostFacts::read(paths), &present)?, true)
        }
    };
    runtime.block_on(apply::apply(&client, &wanted))?;
    if is_interactive {
        println!("LXD has been successfully configured.");
    }
    Ok(())
}

/// Combinations of flags that make no sense, with the texts of the original.
fn check_flags(args: &InitArgs) -> Result<()> {
    let has_options = args.network_address.is_some()
        || args.network_port.is_some()
        || args.storage_backend.is_some()
        || args.storage_create_device.is_some()
        || args.storage_create_loop.is_some()
        || args.storage_pool.is_some()
        || args.trust_password.is_some();
    ensure!(args.auto || !has_options, "Init configuration is only valid with --auto");
    ensure!(args.network_address.is_some() || args.network_port.is_none(), "--network-port cannot be used without --network-address.");
    ensure!(args.network_address.is_some() || args.trust_password.is_none(), "--trust-password cannot be used without --network-address.");
    Ok(())
}

fn read_preseed() -> Result<Preseed> {
    let mut text = String::new();
    std::io::stdin().take(MAX_PRESEED_BYTES + 1).read_to_string(&mut text).context("read the preseed from standard input")?;
    ensure!(text.len() as u64 <= MAX_PRESEED_BYTES, "the preseed is longer than {MAX_PRESEED_BYTES} bytes");
    Preseed::parse(&text)
}

fn terminal() -> Prompt<std::io::StdinLock<'static>, std::io::Stdout> {
    let stdin = std::io::stdin();
    let is_terminal = stdin.is_terminal();
    Prompt::new(stdin.lock(), std::io::stdout(), is_terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_make_no_sense() {
        let auto = InitArgs { auto: true, ..InitArgs::default() };
        let error = |args: InitArgs| check_flags(&args).expect_err("refused").to_string();
        let backend = Some("dir".to_owned());
        assert_eq!(
            error(InitArgs { storage_backend: backend.clone(), ..InitArgs::default() }),
            "Init configuration is only valid with --auto"
        );
        assert!(error(InitArgs { network_port: Some(1), ..auto.clone() }).starts_with("--network-port cannot"));
        assert!(error(InitArgs { trust_password: Some("x".into()), ..auto.clone() }).starts_with("--trust-password cannot"));
        assert!(check_flags(&InitArgs { storage_backend: backend, ..auto }).is_ok());
    }
}
