//! `lxc warning`.

commands! {
    /// See what the server warns of
    group Warning {
        acknowledge => Acknowledge,
        delete => Delete,
        list => List,
        show => Show,
    }
}
