//! `lxc image`.

use anyhow::Result;
use api::images::ImagePut;
use client::path;

use crate::app::App;
use crate::images;
use crate::record::Record;

mod push;
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
        get_property = "get-property" => GetProperty,
        import => Import,
        info => Info,
        list => List,
        refresh => Refresh,
        set_property = "set-property" => SetProperty,
        show => Show,
        unset_property = "unset-property" => UnsetProperty,
    }
}

/// The writable part of the image that an argument names.
async fn record(app: &App, argument: &str) -> Result<Record<ImagePut>> {
    let (client, name) = app.resolve(argument)?;
    app.note("Image", images::name_or_default(&name));
    let image = images::load(&client, &name).await?;
    Record::load(&client, path(&["images", &image.fingerprint])).await
}
