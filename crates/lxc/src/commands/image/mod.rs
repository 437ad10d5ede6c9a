//! `lxc image`.

commands! {
    /// Manage images
    group Image {
        alias => Alias,
        build => Build,
        delete => Delete,
        edit => Edit,
        export => Export,
        import => Import,
        info => Info,
        list => List,
        show => Show,
    }
}
