//! The helper program of the runtime: monitor, attach, files, transfer, hook of CRIU. Started by the daemon, with
//! its socket as standard input; as keeper of control groups by the service manager.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

fn main() {
    // What rsync is given as the way to another host; it appends words that do not matter.
    if std::env::args().nth(1).is_some_and(|role| role == runtime::transfer::LEND) {
        std::process::exit(runtime::transfer::lend());
    }
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    // The socket moves away from 0, so that a failing print or read never touches it.
    let Ok(socket) = std::io::stdin().as_fd().try_clone_to_owned() else {
        std::process::exit(2);
    };
    // Here, as the host's root, whose key quota no guest can fill. What runs inside joins one of its own,
    // but must find nothing of the daemon's where that fails.
    if let Err(error) = sys::process::new_session_keyring() {
        drop(writeln!(std::io::stderr(), "{error}"));
        std::process::exit(1);
    }
    let code = match words.as_slice() {
        ["monitor", run_dir] => runtime::monitor::run(Path::new(run_dir), socket),
        ["attach"] => runtime::attach::run(&socket),
        // CRIU calls its hooks without arguments.
        [] => runtime::checkpoint::run_hook(),
        ["files"] => runtime::files::run(&socket),
        ["transfer"] => runtime::transfer::run(&socket),
        ["keeper"] => runtime::keeper::run(),
        _ => 2,
    };
    std::process::exit(code);
}
