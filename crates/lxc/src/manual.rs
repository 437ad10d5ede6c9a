//! Manual pages of all commands, made from the same tree that parses them; see man-pages(7) and groff_man(7).

use clap::{Arg, Command};

use crate::help;

/// All pages: the name of each file, and what is in it.
pub fn pages(root: &Command) -> Vec<(String, String)> {
    let mut root = root.clone();
    root.build();
    let mut pages = Vec::new();
    collect(&mut pages, &root, root.get_name());
    pages
}

fn collect(pages: &mut Vec<(String, String)>, command: &Command, path: &str) {
    pages.push((format!("{path}.1"), page(command, path)));
    for inner in shown(command) {
        collect(pages, inner, &format!("{path}.{}", inner.get_name()));
    }
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|inner| !inner.is_hide_set())
}

fn page(command: &Command, path: &str) -> String {
    let title = path.to_uppercase();
    let mut text = format!(".TH \"{title}\" \"1\" \"\" \"lxc {}\" \"User Commands\"\n", env!("CARGO_PKG_VERSION"));
    text.push_str(&format!(".SH NAME\n{} \\- {}\n", escaped(&path.replace('.', "-")), escaped(&help::summary(command))));
    text.push_str(&format!(".SH SYNOPSIS\n.B {}\n", escaped(&help::usage(command))));
    let details = help::details(command);
    if !details.is_empty() {
        // Lists in descriptions are laid out by their lines.
        let is_laid_out = details.lines().any(|line| line.starts_with(' '));
        let block = if is_laid_out { format!(".nf\n{}\n.fi\n", escaped(&details)) } else { format!("{}\n", escaped(&details)) };
        text.push_str(&format!(".SH DESCRIPTION\n{block}"));
    }
    section(&mut text, "COMMANDS", shown(command).map(|inner| (inner.get_name().to_owned(), help::summary(inner))).collect());
    let rows = |is_wanted: fn(&Arg) -> bool| {
        let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set() && is_wanted(argument));
        arguments.map(|argument| (help::name_of(argument).trim().to_owned(), help::help_of(argument))).collect()
    };
    section(&mut text, "ARGUMENTS", rows(Arg::is_positional));
    section(&mut text, "OPTIONS", rows(|argument| !argument.is_positional() && !argument.is_global_set()));
    section(&mut text, "GLOBAL OPTIONS", rows(Arg::is_global_set));
    let remark = |remark: &str| if remark.is_empty() { String::new() } else { format!("   # {remark}") };
    let examples: String = help::examples(command).iter().map(|(line, said)| format!("{line}{}\n", remark(said))).collect();
    if !examples.is_empty() {
        text.push_str(&format!(".SH EXAMPLES\n.nf\n{}.fi\n", escaped(&examples)));
    }
    let environment =
        [("LXD_CONF", "Path to an alternate client configuration directory"), ("LXD_DIR", "Path to an alternate server directory")];
    section(&mut text, "ENVIRONMENT", environment.map(|(name, about)| (name.to_owned(), about.to_owned())).into());
    text
}

fn section(text: &mut String, title: &str, rows: Vec<(String, String)>) {
    if rows.is_empty() {
        return;
    }
    text.push_str(&format!(".SH {title}\n"));
    for (name, about) in rows {
        text.push_str(&format!(".TP\n.B {}\n{}\n", escaped(&name), escaped(&about)));
    }
}

/// Text that the formatter takes for text: no escapes, and no requests at the beginning of a line.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = text.split('\n').map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_each_command() {
        let pages = pages(&crate::cli::command());
        let page = |name: &str| pages.iter().find(|(found, _)| found == name).map(|(_, text)| text.as_str()).expect("page");
        assert!(page("lxc.1").contains(".SH COMMANDS\n.TP\n.B alias\n"));
        let set = page("lxc.config.set.1");
        assert!(set.starts_with(".TH \"LXC.CONFIG.SET\" \"1\""), "{set}");
        assert!(set.contains(".SH NAME\nlxc\\-config\\-set \\- Set configuration keys\n"), "{set}");
        assert!(!pages.iter().any(|(name, _)| name.contains("__")), "hidden ones have none");
    }

    #[test]
    fn nothing_is_a_request() {
        assert_eq!(escaped("a-b\n.TH x\n'x\\n"), "a\\-b\n\\&.TH x\n\\&'x\\en");
    }
}
