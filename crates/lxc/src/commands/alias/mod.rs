//! `lxc alias`.

commands! {
    /// Manage command aliases
    group Alias {
        add => Add,
        list => List,
        remove => Remove,
        rename => Rename,
    }
}
