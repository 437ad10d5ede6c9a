//! `lxc operation`.

commands! {
    /// List, show and delete background operations
    group Operation {
        delete => Delete,
        list => List,
        show => Show,
    }
}
