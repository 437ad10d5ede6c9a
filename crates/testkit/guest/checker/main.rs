//! A program for guests that holds and uses many kinds of kernel objects at once, and notices any
//! tick, byte or object that is lost or repeated when its container is saved and brought back.
//!
//! It is no part of a cargo package: tests compile it with `rustc -O -C target-feature=+crt-static`,
//! since it must run in guests that have no C library. Standard library only.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod clients;
mod control;
mod events;
mod ffi;
mod files;
mod guest_api;
mod ipc;
mod load;
mod peer;
mod queues;
mod threads;
mod tree;

use std::path::PathBuf;
use std::time::Duration;

use control::{Guest, Object};

const USAGE: &str = "usage:
  checker run DIR [mqueue]             many objects at once, and a POSIX message queue if wanted
  checker eat DIR MB                  memory, written all the time
  checker write DIR                   files, written all the time
  checker tree DIR                    nested processes, each with a terminal of its own
  checker serve DIR PORT              a server of numbered messages
  checker connect DIR N HOST PORT     N of its clients
  checker verify DIR                  asks any of these: prints `ok` and figures, or what broke
All but the last run until they are killed.
  checker ask SOCKET 'GET PATH'       asks the guest API
  checker follow SOCKET websocket|lines PATH FILE     appends its events to a file
  checker flood SOCKET SECONDS        does to it what a hostile guest would";

/// What an object found wrong.
type Check = Result<(), String>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["ask", socket, request] => guest_api::ask(socket, request),
        ["follow", socket, kind, path, to] => guest_api::follow(socket, kind, path, to),
        ["flood", socket, seconds] => number(seconds).and_then(|seconds| guest_api::flood(socket, seconds)),
        ["verify", dir] => control::ask(dir.as_ref()),
        ["run", dir] => run(dir, false),
        ["run", dir, "mqueue"] => run(dir, true),
        ["eat", dir, megabytes] => go(dir, |_| Ok(vec![Box::new(load::Memory::new("memory eater", number(megabytes)? << 20, 256))])),
        ["write", dir] => go(dir, |dir| Ok(vec![Box::new(load::Writer::new(dir)?)])),
        ["tree", dir] => go(dir, |_| Ok(vec![Box::new(tree::Tree::new()?)])),
        ["serve", dir, port] => go(dir, |dir| Ok(vec![Box::new(clients::Server::new(dir, port)?)])),
        ["connect", dir, count, host, port] => go(dir, |_| {
            (0..number(count)?).map(|id| Ok(Box::new(clients::Client::new(id as u64, host, port)?) as Box<dyn Object>)).collect()
        }),
        _ => Err(USAGE.to_owned()),
    };
    if let Err(reason) = outcome {
        eprintln!("{reason}");
        std::process::exit(1);
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// Makes the objects and uses them for ever.
fn go(dir: &str, make: impl FnOnce(&PathBuf) -> Result<Vec<Box<dyn Object>>, String>) -> Check {
    let dir = PathBuf::from(dir);
    control::prepare(&dir)?;
    // Before there are threads, so that all have it so.
    events::block_signals();
    let mut objects: Vec<Box<dyn Object>> = vec![Box::new(files::Ticks::new(&dir)?)];
    objects.extend(make(&dir)?);
    Guest::new(&dir, objects)?.run(Duration::from_millis(20))
}

fn run(dir: &str, mqueue: bool) -> Check {
    go(dir, |dir| {
        // The other process first: it is forked off, and must not inherit what comes after.
        let mut objects: Vec<Box<dyn Object>> = peer::make(dir)?;
        objects.extend(files::make(dir)?);
        objects.extend(queues::make(dir)?);
        objects.extend(ipc::make()?);
        objects.push(Box::new(events::Events::new(dir)?));
        objects.push(Box::new(load::Memory::new("memory", 8 << 20, 4)));
        objects.extend(threads::make());
        // Nobody can save that; what is said about it is of interest.
        if mqueue {
            objects.push(Box::new(ipc::PosixQueue::new()?));
        }
        Ok(objects)
    })
}
