//! `lxc config template`: the templates in a container's volume.

use anyhow::{Result, bail};
use client::{Body, Client, Method, Request, path, with_query};

use crate::app::App;

commands! {
    /// Manage container file templates
    group Template {
        create => Create,
        delete => Delete,
        edit => Edit,
        list => List,
        show => Show,
    }
}

/// Largest template that is read, bytes.
const LIMIT_BYTES: usize = 16 << 20;

/// The templates of one container.
struct Templates {
    client: Client,
    container: String,
}

impl Templates {
    /// Those of the container that `[REMOTE:]CONTAINER` names.
    fn of(app: &App, argument: &str) -> Result<Self> {
        let (client, container) = app.resolve_named(argument, "Container")?;
        if container.contains('/') {
            bail!(
                "\"{container}\" is a snapshot: only containers' templates can be worked on (`lxc copy {container} NAME` makes a container of it)"
            );
        }
        Ok(Self { client, container })
    }

    /// The same, and notes the template that is worked on.
    fn with(app: &App, argument: &str, template: &str) -> Result<Self> {
        let templates = Self::of(app, argument)?;
        if template.is_empty() {
            bail!("Template name is mandatory");
        }
        app.note_listed("Template", template, &format!("lxc config template list {}", templates.container));
        Ok(templates)
    }

    fn path(&self) -> String {
        path(&["instances", &self.container, "metadata", "templates"])
    }

    async fn names(&self) -> Result<Vec<String>> {
        Ok(self.client.get(&self.path()).await?)
    }

    async fn read(&self, template: &str) -> Result<Vec<u8>> {
        let request = Request::new(Method::GET, with_query(&self.path(), &[("path", template)]));
        Ok(self.client.download(request).await?.bytes(LIMIT_BYTES).await?.to_vec())
    }

    async fn write(&self, template: &str, content: Vec<u8>) -> Result<()> {
        let request = Request::new(Method::POST, with_query(&self.path(), &[("path", template)]));
        self.client.request(request.body(Body::Bytes(content.into()))).await?;
        Ok(())
    }

    async fn delete(&self, template: &str) -> Result<()> {
        self.client.delete(&with_query(&self.path(), &[("path", template)])).await?;
        Ok(())
    }
}
