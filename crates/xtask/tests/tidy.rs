//! The rules of the code base hold, and the generated documentation is up to date.

#[test]
fn rules_hold() {
    let findings = xtask::tidy::check(&xtask::workspace_root()).expect("the check runs");
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "\n{}\n", list.join("\n"));
}

#[test]
fn documentation_is_up_to_date() {
    xtask::docs::check(&xtask::workspace_root()).expect("generated documentation");
}
