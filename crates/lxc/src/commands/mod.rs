//! The commands: one a file, groups as directories.

/// Declares commands: for each the module it lives in and its struct. With a name in front they
/// form a group, a command whose first word chooses one of them.
macro_rules! commands {
    ($(#[$meta:meta])* group $group:ident { $($module:ident $(= $name:literal)? => $variant:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, clap::Args)]
        #[command(arg_required_else_help = true, subcommand_required = true)]
        pub struct $group {
            #[command(subcommand)]
            command: Choice,
        }

        commands! { enum Choice { $($module $(= $name)? => $variant,)* } }

        impl $group {
            /// Runs the chosen command.
            pub async fn run(self, app: &crate::app::App) -> anyhow::Result<()> {
                Box::pin(self.command.run(app)).await
            }
        }
    };
    ($(#[$meta:meta])* enum $choice:ident { $($module:ident $(= $name:literal)? => $variant:ident,)* }) => {
        $(mod $module;)*

        $(#[$meta])*
        #[derive(Debug, clap::Subcommand)]
        pub enum $choice {
            $($(#[command(name = $name)])? $variant(Box<$module::$variant>),)*
        }

        impl $choice {
            /// Runs the chosen command.
            pub async fn run(self, app: &crate::app::App) -> anyhow::Result<()> {
                match self {
                    $(Self::$variant(command) => Box::pin(command.run(app)).await,)*
                }
            }
        }
    };
}

mod backup;
mod checkpoint;
mod copying;
mod create;
mod device;
mod hardware;
mod image_servers;
mod keys;
mod stateful_log;
mod states;
mod transfer;
mod warnings;

commands! {
    /// All commands.
    enum Command {
        alias => Alias,
        complete = "__complete" => Complete,
        completion => Completion,
        config => Config,
        console => Console,
        copy => Copy,
        delete => Delete,
        exec => Exec,
        export => Export,
        file => File,
        finger => Finger,
        help => Help,
        image => Image,
        import => Import,
        info => Info,
        init => Init,
        launch => Launch,
        list => List,
        manpage => Manpage,
        monitor => Monitor,
        r#move = "move" => Move,
        network => Network,
        operation => Operation,
        pause => Pause,
        profile => Profile,
        publish => Publish,
        query => Query,
        remote => Remote,
        rename => Rename,
        restart => Restart,
        restore => Restore,
        shell => Shell,
        snapshot => Snapshot,
        start => Start,
        stop => Stop,
        storage => Storage,
        version => Version,
        warning => Warning,
    }
}
