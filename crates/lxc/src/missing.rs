//! What a server did not find, in full: some answer a bare `not found`.
//!
//! Only the command line knows what the user named; commands note it, and the error gets the
//! name and the command that lists what there is, unless the server has said them itself.

use crate::names::split_snapshot;

/// Something that the user named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What it is: a key of [`KINDS`].
    pub kind: &'static str,
    /// Its name, as servers name it.
    pub name: String,
    /// The command that lists what there is.
    pub list: String,
}

impl Subject {
    /// `CONTAINER/SNAPSHOT` is a snapshot, whatever it was expected to be.
    pub fn new(kind: &'static str, name: &str) -> Self {
        let kind = if kind == "Container" && split_snapshot(name).1.is_some() { "Snapshot" } else { kind };
        let list = KINDS.iter().find(|(known, ..)| *known == kind).map_or("", |(_, _, list)| list);
        let list = if kind == "Snapshot" { format!("{list} {}", split_snapshot(name).0) } else { list.to_owned() };
        Self { kind, name: name.to_owned(), list }
    }
}

/// Kinds of subjects, the words by which servers call them, and how to list them.
const KINDS: &[(&str, &[&str], &str)] = &[
    ("Container", &["instance", "container"], "lxc list"),
    ("Snapshot", &["snapshot"], "lxc info"),
    ("Image", &["image"], "lxc image list"),
    ("Alias", &["alias"], "lxc image alias list"),
    ("Certificate", &["certificate"], "lxc config trust list"),
    ("Profile", &["profile"], "lxc profile list"),
    ("Network", &["network"], "lxc network list"),
    ("Pool", &["storage pool", "pool"], "lxc storage list"),
    ("Volume", &["storage volume"], "lxc storage volume list"),
    ("Template", &["template"], "lxc config template list"),
    ("Operation", &["operation"], "lxc operation list"),
    ("Warning", &["warning"], "lxc warning list --all"),
];

/// An error's text; that of a "not found" with what it lacks.
pub fn describe(error: &anyhow::Error, subjects: &[Subject]) -> String {
    let text = format!("{error:#}");
    let is_not_found = error.downcast_ref::<client::Error>().is_some_and(client::Error::is_not_found);
    if is_not_found { explain(&text, subjects) } else { text }
}

fn explain(text: &str, subjects: &[Subject]) -> String {
    let lower = text.to_lowercase();
    // Of all that the text speaks of, what it says in most words: a storage volume is not its pool.
    let mentioned = |subject: &Subject| {
        let words = KINDS.iter().find(|(kind, ..)| *kind == subject.kind).map_or(&[][..], |(_, words, _)| words);
        words.iter().filter(|word| lower.contains(**word)).map(|word| word.len()).max()
    };
    let subject = subjects.iter().rev().filter(|subject| mentioned(subject).is_some()).max_by_key(|subject| mentioned(subject));
    // A text that says more than nothing of what is missing is of something else: a file in the container.
    let subject = subject.or(if subjects.len() == 1 && lower == "not found" { subjects.first() } else { None });
    let Some(subject) = subject else { return text.to_owned() };
    // A quoted name is what the server looked for, even where it is written otherwise here.
    let is_quoted = text.matches('\'').count() >= 2;
    let is_named = is_quoted || text.split_whitespace().any(|word| word.trim_matches(|c| "'\"`:,.".contains(c)) == subject.name);
    let named = if is_named { text.to_owned() } else { format!("{} '{}': {text}", subject.kind, subject.name) };
    // A remedy stands in backquotes.
    if text.contains('`') || subject.list.is_empty() { named } else { format!("{named} (`{}` shows those there are)", subject.list) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(text: &str, subjects: &[(&'static str, &str)]) -> String {
        let subjects: Vec<Subject> = subjects.iter().map(|(kind, name)| Subject::new(kind, name)).collect();
        explain(text, &subjects)
    }

    #[test]
    fn what_the_server_left_out_is_added() {
        assert_eq!(explained("not found", &[("Container", "c1")]), "Container 'c1': not found (`lxc list` shows those there are)");
        assert_eq!(
            explained("Instance 'c1' not found", &[("Container", "c1")]),
            "Instance 'c1' not found (`lxc list` shows those there are)"
        );
        assert_eq!(explained("not found", &[("Container", "c1/s")]), "Snapshot 'c1/s': not found (`lxc info c1` shows those there are)");
        assert_eq!(
            explained("Instance not found", &[("Container", "n")]),
            "Container 'n': Instance not found (`lxc list` shows those there are)"
        );
        assert_eq!(
            explained("Storage pool 'fast' not found", &[("Pool", "default")]),
            "Storage pool 'fast' not found (`lxc storage list` shows those there are)"
        );
        assert_eq!(explained("/nope: not found", &[("Container", "c1")]), "/nope: not found");
        let full = "Image 'x' not found (`lxc image list` shows the images there are)";
        assert_eq!(explained(full, &[("Image", "x")]), full);
    }

    #[test]
    fn of_several_subjects_the_one_meant_is_named() {
        let subjects = [("Network", "br0"), ("Container", "c1")];
        assert_eq!(explained("Instance not found", &subjects), "Container 'c1': Instance not found (`lxc list` shows those there are)");
        assert_eq!(
            explained("Network not found", &subjects),
            "Network 'br0': Network not found (`lxc network list` shows those there are)"
        );
        assert_eq!(explained("not found", &subjects), "not found");
        assert_eq!(explained("not found", &[]), "not found");
        let volume = Subject { list: "lxc storage volume list pool1".to_owned(), ..Subject::new("Volume", "pool1/data") };
        assert_eq!(
            explain("Storage volume 'pool1/data' not found", &[Subject::new("Pool", "pool1"), volume.clone()]),
            "Storage volume 'pool1/data' not found (`lxc storage volume list pool1` shows those there are)"
        );
        assert_eq!(
            explain("Storage pool 'pool1' not found", &[Subject::new("Pool", "pool1"), volume]),
            "Storage pool 'pool1' not found (`lxc storage list` shows those there are)"
        );
    }
}
