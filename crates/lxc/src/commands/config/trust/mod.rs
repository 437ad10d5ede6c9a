//! `lxc config trust`.

commands! {
    /// Manage trusted clients
    group Trust {
        list => List,
    }
}
