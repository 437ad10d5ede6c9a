//! The real binary without a server: usage errors, exit codes and where texts go.

use std::process::{Command, Output};

fn lxc(args: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("directory");
    Command::new(env!("CARGO_BIN_EXE_lxc"))
        .args(args)
        .env_clear()
        .env("LXD_DIR", directory.path())
        .env("LXD_CONF", directory.path())
        .output()
        .expect("run lxc")
}

fn check(args: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = lxc(args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (found_stdout, found_stderr) = (text(&output.stdout), text(&output.stderr));
    let report = format!("lxc {}\n--- stdout\n{found_stdout}\n--- stderr\n{found_stderr}", args.join(" "));
    assert_eq!(output.status.code(), Some(code), "{report}");
    assert!(found_stdout.starts_with(stdout) && (!stdout.is_empty() || found_stdout.is_empty()), "{report}");
    assert!(found_stderr.starts_with(stderr) && (!stderr.is_empty() || found_stderr.is_empty()), "{report}");
}

#[test]
fn general_help() {
    check(&[], 1, "Usage: lxc <command> [options]\n", "");
    for args in [&["--help"][..], &["-h"], &["help"], &["--all"]] {
        check(args, 0, "Usage: lxc <command> [options]\n", "");
    }
    check(&["nothing"], 1, "Usage: lxc <command> [options]\n", "error: unknown command: nothing\n");
    check(&["help", "nothing"], 0, "", "error: unknown command: nothing\n");
    check(&["help", "config", "device", "get"], 0, "Get values of device configuration keys\n\nUsage: lxc config device get ", "");
    check(&["--debug"], 1, "Usage: lxc <command> [options]\n", "");
}

#[test]
fn help_of_commands() {
    check(&["rename", "--help"], 0, "Rename containers and snapshots\n\nA container must be stopped for it.\n\nUsage: lxc rename ", "");
    check(&["config", "-h"], 0, "Manage container and server configuration options\n\nUsage: lxc config <command> ", "");
    for group in ["alias", "config", "file", "image", "network", "operation", "profile", "remote", "storage"] {
        let output = lxc(&[group]);
        assert_eq!(output.status.code(), Some(0), "{group}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("Commands:\n") && output.stderr.is_empty(), "{group}");
    }
    check(&["config", "nothing"], 1, "Manage container and server", "error: unknown command: config nothing\n");
}

#[test]
fn wrong_words() {
    let wrong = "error: wrong number of subcommand arguments\n\n";
    for args in [
        &["launch"][..],
        &["exec", "c1"],
        &["config", "set", "c1"],
        &["file", "push", "x"],
        &["rename", "a"],
        &["restore", "a", "b", "c"],
        &["storage", "volume", "attach", "default", "data", "c1"],
        &["config", "template", "show", "c1"],
        &["import", "a", "b", "c"],
    ] {
        check(args, 1, "", wrong);
    }
}

#[test]
fn wrong_flags() {
    check(&["list", "--nope"], 2, "", "error: flag provided but not defined: --nope\n");
    check(
        &["exec", "c1", "ls", "-l"],
        2,
        "",
        "error: flag provided but not defined: -l\nWords that begin with a dash and are meant for the container go after `--`.\n",
    );
    check(&["config", "set", "c1", "user.a", "-b"], 2, "", "error: flag provided but not defined: -b\nWords that begin with a dash ");
    check(&["exec", "c1", "-tT", "--", "ls"], 2, "", "error: --force-interactive and --force-noninteractive can't be used together\n");
    check(&["launch", "i", "c", "-c", "x"], 2, "", "error: invalid value \"x\" for flag -c: Invalid configuration key\n");
    let check_alone = "error: --check needs --stateful: it tells whether the running state can be saved\n";
    check(&["stop", "c1", "--check"], 2, "", check_alone);
    check(&["snapshot", "c1", "--check"], 2, "", check_alone);
    check(&["import", "c1.tar.gz", "--storage"], 2, "", "error: flag needs an argument: -s\n");
    check(&["delete", "c1", "--force=maybe"], 2, "", "error: invalid boolean value \"maybe\" for flag -f: true or false\n");
    check(&["launch", "i", "c", "-e=maybe"], 2, "", "error: invalid boolean value \"maybe\" for flag -e: true or false\n");
    check(&["stop", "c", "--timeout", "x"], 2, "", "error: invalid value \"x\" for flag --timeout: ");
}

#[test]
fn versions() {
    let version = concat!(env!("CARGO_PKG_VERSION"), "\n");
    for args in [&["version"][..], &["--version"], &["list", "--version"]] {
        check(args, 0, version, "");
    }
    check(&["exec", "c1", "--", "ls", "--version"], 1, "", "LXD socket not found; is LXD installed and running?\n");
}

#[test]
fn no_server() {
    for args in [&["list"][..], &["info"], &["start", "c1"], &["image", "list"], &["profile", "list"]] {
        let output = lxc(args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stderr.contains("LXD socket not found; is LXD installed and running?\n"), "{args:?}: {stderr}");
    }
    check(&["list", "other:"], 1, "", "error: The remote \"other\" doesn't exist (`lxc remote list` shows those there are)\n");
    check(&["list", "-c", "nX"], 1, "", "error: nX contains invalid column characters (`lxc list --help` shows the valid ones)\n");
    check(&["list", "--format", "x"], 1, "", "error: invalid format \"x\" (table, csv, json, yaml or compact)\n");
    check(&["monitor", "--type=x"], 1, "", "error: Unknown event type \"x\" (operation, logging, lifecycle are known)\n");
    check(&["file", "pull", "c1", "."], 1, "", "error: Invalid source c1 (it has the form CONTAINER/PATH, such as c1/root/notes)\n");
    check(&["start", "c1/s"], 1, "", "error: \"c1/s\" is a snapshot, which can't start ");
    check(
        &["config", "set", "c1", "limits.memory"],
        1,
        "",
        "error: 'c1' is not a key of the server's configuration (a container's: lxc config set c1 limits.memory VALUE)\n",
    );
    check(&["start"], 1, "", "error: Must supply container name for: \"start\"\n");
    check(&["config", "trust", "remove"], 1, "", "error: No fingerprint specified.\n");
}

#[test]
fn aliases_round_trip() {
    let directory = tempfile::tempdir().expect("directory");
    let lxc = |args: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_lxc")).args(args).env_clear().env("LXD_CONF", directory.path()).output().expect("run lxc");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(lxc(&["alias", "add", "v", "version"]).0, Some(0));
    assert_eq!(lxc(&["v"]).1, concat!(env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(lxc(&["alias", "add", "v", "list"]).2, "error: alias v already exists\n");
    assert_eq!(lxc(&["alias", "rename", "v", "w"]).0, Some(0));
    assert_eq!(lxc(&["alias", "list", "--format", "csv"]).1, "w,version\n");
    assert_eq!(lxc(&["alias", "remove", "w"]).0, Some(0));
    assert_eq!(lxc(&["w"]).0, Some(1));
    std::fs::write(directory.path().join("config.yml"), "aliases: {q: \"list 'x\"}\n").expect("write");
    let broken = lxc(&["q"]);
    assert_eq!(broken.0, Some(5), "{broken:?}");
    assert!(broken.2.starts_with("processing aliases failed "), "{broken:?}");
}

#[test]
fn completions() {
    for shell in ["bash", "zsh", "fish"] {
        let output = lxc(&["completion", shell]);
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("__complete -- "), "{shell}");
    }
    check(&["completion", "elvish"], 0, "\nuse builtin", "");
    // Without a server there are still commands, flags and keys.
    check(&["__complete", "--", "res"], 0, "restart\tRestart containers\nrestore\tRestore containers from snapshots\n", "");
    check(&["__complete", "--", "config", "set", "c1", "limits.mem"], 0, "limits.memory\t", "");
    check(&["__complete", "--", "start", "--ti"], 0, "", "");
    check(&["__complete", "--", "stop", "--ch"], 0, "--check\tOnly tell whether ", "");
    check(&["__complete", "--", "snapshot", "--ch"], 0, "--check\tOnly tell whether ", "");
    check(&["__complete", "--", "stop", "--ti"], 0, "--timeout\tSeconds to wait ", "");
    check(&["__complete", "--", "start", ""], 0, "", "");
}

/// The script in a real bash, where colons and equal signs end words.
#[test]
fn bash_completion() {
    let directory = tempfile::tempdir().expect("directory");
    let program = env!("CARGO_BIN_EXE_lxc");
    let script = format!(
        r#"compopt() {{ :; }}; source <({program} completion bash)
        COMP_LINE="{program} list --format=c"; COMP_POINT=${{#COMP_LINE}}; _lxc; echo "${{COMPREPLY[*]}}"
        COMP_LINE="{program} config device ov"; COMP_POINT=${{#COMP_LINE}}; _lxc; echo "${{COMPREPLY[*]}}""#
    );
    let output = Command::new("bash").args(["-c", &script]).env("LXD_DIR", directory.path()).env("LXD_CONF", directory.path()).output();
    let output = output.expect("run bash");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "csv compact\noverride\n", "{}", String::from_utf8_lossy(&output.stderr));
}

/// Flags stand where the user likes; after `--` every word is a value.
#[test]
fn flags_after_words() {
    const NO_SERVER: &str = "LXD socket not found; is LXD installed and running?\n";
    let file = tempfile::NamedTempFile::new().expect("file");
    let source = file.path().to_str().expect("path");
    for args in [
        &["file", "push", source, "c1/tmp/x", "--mode", "600", "--uid", "5"][..],
        &["file", "pull", "c1/tmp/x", "/nonexistent/x", "-p", "--quiet"],
        &["config", "set", "c1", "user.a", "b", "--force-local"],
        &["config", "set", "c1", "boot.autostart.priority", "-5"],
        &["config", "set", "c1", "user.a", "--", "-b"],
        &["config", "profile", "list"],
    ] {
        let output = lxc(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).ends_with(NO_SERVER), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    check(&["config", "profile", "list"], 1, "", "`lxc config profile` is deprecated, use `lxc profile`\nLXD socket not found");
}

#[test]
fn the_reference_page_is_up_to_date() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/cli.md");
    let found = std::fs::read_to_string(page).unwrap_or_default();
    let made = String::from_utf8(lxc(&["help", "--markdown"]).stdout).expect("text");
    assert!(found == made, "{page} is out of date: run `cargo xtask docs`");
}
