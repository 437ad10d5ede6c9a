//! `lxc storage volume`.

mod abroad;
mod attachment;
mod place;

commands! {
    /// Manage storage volumes
    group Volume {
        attach => Attach,
        attach_profile = "attach-profile" => AttachProfile,
        copy => Copy,
        create => Create,
        delete => Delete,
        detach => Detach,
        detach_profile = "detach-profile" => DetachProfile,
        edit => Edit,
        export => Export,
        get => Get,
        import => Import,
        info => Info,
        list => List,
        r#move = "move" => Move,
        rename => Rename,
        restore => Restore,
        set => Set,
        show => Show,
        snapshot => Snapshot,
        unset => Unset,
    }
}
