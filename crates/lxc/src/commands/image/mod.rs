//! `lxc image`.

mod relay;

commands! {
    /// Manage images
    group Image {
        alias => Alias,
        build => Build,
        copy => Copy,
        delete => Delete,
        edit => Edit,
        export => Export,
        import => Import,
        info => Info,
        list => List,
        refresh => Refresh,
        show => Show,
    }
}
