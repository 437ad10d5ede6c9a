//! `lxc image alias`.

commands! {
    /// Manage image aliases
    group Alias {
        create => Create,
        delete => Delete,
        list => List,
        rename => Rename,
    }
}
