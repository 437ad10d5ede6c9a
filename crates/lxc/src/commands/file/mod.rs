//! `lxc file`.

use anyhow::{Context, Result, bail};
use client::{Client, RemoteFile};

use crate::app::App;
use crate::names;

commands! {
    /// Manage files in containers
    group File {
        delete => Delete,
        edit => Edit,
        pull => Pull,
        push => Push,
    }
}

/// Most symbolic links that are followed one after the other.
const LINKS_LIMIT: usize = 10;

/// A path in a container.
#[derive(Clone, Debug)]
struct Place {
    client: Client,
    instance: String,
    /// Absolute.
    path: String,
}

impl Place {
    /// What a link leads to, looked up inside the container, a few links deep; with its path.
    async fn follow(&self, mut file: RemoteFile) -> Result<(String, RemoteFile)> {
        let mut path = self.path.clone();
        for _ in 0..LINKS_LIMIT {
            let RemoteFile::Symlink(target) = &file else { return Ok((path, file)) };
            path = link_target(&path, target);
            file = self.client.read_file(&self.instance, &path).await?;
        }
        bail!("{}: too many levels of symbolic links", self.path)
    }
}

/// The path that the link at `path` stands for.
fn link_target(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    names::join(path.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent), target)
}

/// The place that a `[REMOTE:]CONTAINER/PATH` argument names; `what` is for the error.
fn place(app: &App, argument: &str, what: &str) -> Result<Place> {
    let target = app.target(argument)?;
    let (instance, path) = names::split_path(&target.name).with_context(|| format!("Invalid {what} {argument} (it has the form CONTAINER/PATH, such as c1/root/notes)"))?;
    app.note("Container", instance);
    Ok(Place { client: app.client(&target.remote)?, instance: instance.to_owned(), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_links() {
        assert_eq!(link_target("/etc/os-release", "../usr/lib/os-release"), "/etc/../usr/lib/os-release");
        assert_eq!(link_target("/etc/localtime", "/usr/share/zoneinfo/UTC"), "/usr/share/zoneinfo/UTC");
        assert_eq!(link_target("/bin", "usr/bin"), "/usr/bin");
    }
}
