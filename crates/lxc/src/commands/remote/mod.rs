//! `lxc remote`.

commands! {
    /// Look at the list of servers
    group Remote {
        get_default = "get-default" => GetDefault,
        list => List,
    }
}
