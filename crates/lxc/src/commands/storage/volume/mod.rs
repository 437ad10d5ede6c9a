//! `lxc storage volume`.

commands! {
    /// Look at storage volumes
    group Volume {
        list => List,
        show => Show,
    }
}
