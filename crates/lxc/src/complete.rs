//! Completion of a command line: what its last word could be.
//!
//! Pure: the tree of commands tells it, since the names of values say what a word names. What
//! there is on a server is the matter of the command that asks for the completion.

use clap::{Arg, Command};

use crate::help::value_name;

/// What the last word could be.
#[derive(Debug)]
pub enum Wanted<'a> {
    /// One of the commands of this one.
    Commands(&'a Command),
    /// A flag of this command.
    Flags(&'a Command),
    /// A value.
    Values {
        /// Where values come from.
        sources: Vec<Source>,
        /// What of the word is there before the value: `--profile=`.
        prefix: String,
        /// The container or profile that was named, else the first word of the command: what has the snapshots,
        /// devices or volumes.
        subject: Option<String>,
    },
}

/// Where values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Containers.
    Containers,
    /// Containers, each as the beginning of a path.
    Paths,
    /// Snapshots as `CONTAINER/SNAPSHOT`.
    FullSnapshots,
    /// Snapshots of the subject.
    Snapshots,
    /// Devices of the subject.
    Devices,
    /// Aliases of images.
    Images,
    /// Profiles.
    Profiles,
    /// Networks.
    Networks,
    /// Storage pools.
    Pools,
    /// Custom volumes of the subject.
    Volumes,
    /// Custom volumes of all pools as `POOL/VOLUME`.
    FullVolumes,
    /// Operations that run.
    Operations,
    /// What the server warns of.
    Warnings,
    /// Servers, each as the beginning of a name.
    Remotes,
    /// Names of servers.
    RemoteNames,
    /// Configuration keys of containers and profiles; followed by `=` if so.
    InstanceKeys(bool),
    /// Configuration keys of the server.
    ServerKeys,
    /// Configuration keys of networks.
    NetworkKeys,
    /// Configuration keys of custom volumes.
    VolumeKeys,
    /// Files of this host.
    Files,
    /// One of a few.
    Fixed(Vec<String>),
}

/// What could stand in the place of the last of `words`, which follow the program's name. The tree
/// must be built.
pub fn wanted<'a>(root: &'a Command, words: &[String]) -> Option<Wanted<'a>> {
    let (current, before) = words.split_last()?;
    let mut command = root;
    let mut path = Vec::new();
    let mut given: Vec<&String> = Vec::new();
    let mut pending: Option<&Arg> = None;
    let mut has_ended = false;
    for word in before {
        if pending.take().is_some() {
        } else if !has_ended && word == "--" {
            has_ended = true;
        } else if !has_ended && word.len() > 1 && word.starts_with('-') {
            pending = awaiting_value(command, word);
        } else if command.has_subcommands() {
            command = command.find_subcommand(word)?;
            path.push(command.get_name());
        } else {
            given.push(word);
        }
    }
    let values = |sources, prefix: &str| {
        let owner = command.get_positionals().position(|argument| matches!(value_name(argument).as_str(), "CONTAINER" | "PROFILE"));
        let subject = owner.and_then(|index| given.get(index)).or(given.first()).map(|word| (*word).clone());
        Some(Wanted::Values { sources, prefix: prefix.to_owned(), subject })
    };
    if let Some(argument) = pending {
        return values(sources_of_flag(argument), "");
    }
    if !has_ended && current.starts_with('-') && current != "-" {
        return match current.split_once('=') {
            Some((flag, _)) => values(sources_of_flag(awaiting_value(command, flag)?), &format!("{flag}=")),
            None => Some(Wanted::Flags(command)),
        };
    }
    if command.has_subcommands() {
        return Some(Wanted::Commands(command));
    }
    let (argument, index) = positional(command, given.len())?;
    values(sources_of_word(&path, argument, index, &given), "")
}

/// The flag that takes the next word, if `word` ends in one.
fn awaiting_value<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let is_meant = |argument: &&Arg| match word.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => argument.get_short().is_some() && argument.get_short() == word.chars().last(),
    };
    command.get_arguments().find(is_meant).filter(|argument| argument.get_action().takes_values())
}

/// The argument that takes the word after `count` others, and which of the argument's words it is.
fn positional(command: &Command, count: usize) -> Option<(&Arg, usize)> {
    let mut left = count;
    for argument in command.get_positionals() {
        let many = argument.get_num_args().map_or(1, |range| range.max_values());
        if left < many {
            return Some((argument, left));
        }
        left -= many;
    }
    None
}

fn sources_of_flag(argument: &Arg) -> Vec<Source> {
    let name = value_name(argument);
    match name.as_str() {
        "FORMAT" if argument.get_default_values().iter().any(|value| value == "table") => {
            fixed(&["table", "csv", "json", "yaml", "compact"])
        }
        "FORMAT" => fixed(&["json", "pretty", "yaml"]),
        "KEY=VALUE" if argument.get_long() == Some("config") => vec![Source::InstanceKeys(true)],
        "PROFILE" => vec![Source::Profiles],
        "NETWORK" => vec![Source::Networks],
        "POOL" => vec![Source::Pools],
        _ => possible(argument),
    }
}

fn sources_of_word(path: &[&str], argument: &Arg, index: usize, given: &[&String]) -> Vec<Source> {
    let name = value_name(argument);
    let names: Vec<&str> = name.split(' ').collect();
    let name = names.get(index).or(names.last()).copied().unwrap_or_default();
    let is_device = path.contains(&"device");
    let ends_in_equals = given.last().is_some_and(|word| word.contains('='));
    match (path, name) {
        (["file", ..], "SOURCE..." | "[REMOTE:]CONTAINER/PATH" | "TARGET" | "[REMOTE:]CONTAINER/PATH...") => {
            vec![Source::Paths, Source::Files]
        }
        (["image", "import" | "export"], "TARBALL|URL" | "[ROOTFS]" | "TARGET") => vec![Source::Files],
        (["image", "list"] | ["image", "alias", ..], "[REMOTE:]FILTER" | "[REMOTE:]ALIAS") => vec![Source::Images],
        (["config", ..], "[[REMOTE:]CONTAINER]") => vec![Source::Containers, Source::ServerKeys],
        (["config", "trust", ..], "[FILE]") => vec![Source::Files],
        (["remote", action], "REMOTE") if *action != "add" => vec![Source::RemoteNames],
        (["list"], _) => vec![Source::Containers],
        (["import"], _) => vec![Source::Files],
        (["export"], "TARGET") => vec![Source::Files],
        (["storage", "volume", "copy" | "move"], name) if name.contains("POOL/VOLUME") => vec![Source::FullVolumes],
        (["storage", "volume", ..], "VOLUME" | "VOLUME[/SNAPSHOT]") => vec![Source::Volumes],
        (["storage", "volume", ..], "KEY" | "KEY=VALUE") => vec![Source::VolumeKeys],
        (_, "DEVICE") => vec![Source::Devices],
        (_, "SNAPSHOT") if path == ["restore"] => vec![Source::Snapshots],
        (_, name) if name.contains("[/SNAPSHOT]") && !name.contains("DESTINATION") && !name.contains("NEW-NAME") => {
            vec![Source::Containers, Source::FullSnapshots]
        }
        (_, name) if name.contains("CONTAINER") => vec![Source::Containers],
        (_, name) if name.contains("IMAGE") => vec![Source::Images],
        (_, name) if name.contains("PROFILE") => vec![Source::Profiles],
        (_, name) if name.contains("NETWORK") => vec![Source::Networks],
        (_, name) if name.contains("POOL") => vec![Source::Pools],
        (_, name) if name.contains("OPERATION") => vec![Source::Operations],
        (_, name) if name.contains("WARNING") => vec![Source::Warnings],
        (_, "[REMOTE:]") => vec![Source::Remotes],
        (["config" | "profile", ..], name) if !is_device && (name == "KEY" || name.contains("KEY=") && ends_in_equals) => {
            vec![Source::InstanceKeys(ends_in_equals)]
        }
        (["network", ..], "KEY" | "KEY=VALUE") => vec![Source::NetworkKeys],
        _ => possible(argument),
    }
}

fn possible(argument: &Arg) -> Vec<Source> {
    let values: Vec<String> = argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if values.is_empty() { Vec::new() } else { vec![Source::Fixed(values)] }
}

fn fixed(values: &[&str]) -> Vec<Source> {
    vec![Source::Fixed(values.iter().map(|value| (*value).to_owned()).collect())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> String {
        let mut root = crate::cli::command();
        root.build();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        match wanted(&root, &words) {
            None => "nothing".to_owned(),
            Some(Wanted::Commands(command)) => format!("commands of {}", command.get_name()),
            Some(Wanted::Flags(command)) => format!("flags of {}", command.get_name()),
            Some(Wanted::Values { sources, prefix, subject }) => {
                format!("{prefix}{sources:?} {}", subject.unwrap_or_default()).trim().to_owned()
            }
        }
    }

    #[test]
    fn places() {
        let cases = [
            ("", "commands of lxc"),
            ("la", "commands of lxc"),
            ("--debug config dev", "commands of config"),
            ("config device ", "commands of device"),
            ("config nothing ", "nothing"),
            ("launch ", "[Images]"),
            ("launch debian/12 ", "[] debian/12"),
            ("launch -p ", "[Profiles]"),
            ("launch --profile=d", "--profile=[Profiles]"),
            ("launch x y -c li", "[InstanceKeys(true)] x"),
            ("launch x y -n ", "[Networks] x"),
            ("launch --", "flags of launch"),
            ("start c1 ", "[Containers] c1"),
            ("start -f c", "[Containers]"),
            ("exec c1 -- l", "[] c1"),
            ("delete c1/", "[Containers, FullSnapshots]"),
            ("restore c1 ", "[Snapshots] c1"),
            ("config set ", "[Containers, ServerKeys]"),
            ("config set c1 li", "[InstanceKeys(false)] c1"),
            ("config set c1 limits.cpu ", "[] c1"),
            ("config set c1 limits.cpu=2 ", "[InstanceKeys(true)] c1"),
            ("config get c1 ", "[InstanceKeys(false)] c1"),
            ("config device get c1 ", "[Devices] c1"),
            ("profile set web ", "[InstanceKeys(false)] web"),
            ("profile apply c1 ", "[Profiles] c1"),
            ("network attach lxdbr0 ", "[Containers] lxdbr0"),
            ("network set lxdbr0 ", "[NetworkKeys] lxdbr0"),
            ("storage info ", "[Pools]"),
            ("storage volume show default ", "[Volumes] default"),
            ("storage volume copy d", "[FullVolumes]"),
            ("storage volume attach default data ", "[Containers] default"),
            ("storage volume detach default data c1 ", "[Devices] c1"),
            ("storage volume detach-profile default data ", "[Profiles] default"),
            ("storage volume set default data ", "[VolumeKeys] default"),
            ("config template show ", "[Containers]"),
            ("export c1 ", "[Files] c1"),
            ("import ", "[Files]"),
            ("import b.tar.gz -s ", "[Pools] b.tar.gz"),
            ("file push ", "[Paths, Files]"),
            ("file pull c1/etc/hosts ", "[Paths, Files] c1/etc/hosts"),
            ("image import ", "[Files]"),
            ("list --format ", "[Fixed([\"table\", \"csv\", \"json\", \"yaml\", \"compact\"])]"),
            ("operation show ", "[Operations]"),
            ("warning show ", "[Warnings]"),
            ("remote remove ", "[RemoteNames]"),
            ("remote add ", "[]"),
            ("config trust add ", "[Remotes]"),
            ("config trust add work: ", "[Files] work:"),
            ("version ", "nothing"),
        ];
        for (line, expected) in cases {
            assert_eq!(complete(line), expected, "{line:?}");
        }
    }
}
