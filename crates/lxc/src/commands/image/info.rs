//! `lxc image info`.

use anyhow::Result;
use api::Timestamp;
use api::images::Image;
use clap::Args;

use crate::app::App;
use crate::commands::image_servers::ImageServer;
use crate::{images, output, units};

/// Show useful information about images
#[derive(Debug, Args)]
#[command(after_help = "lxc image info debian/12")]
pub struct Info {
    /// The image
    #[arg(value_name = "[REMOTE:]IMAGE")]
    image: String,
}

impl Info {
    pub async fn run(self, app: &App) -> Result<()> {
        let target = app.target(&self.image)?;
        app.note("Image", images::name_or_default(&target.name));
        let image = ImageServer::of(app, &target.remote)?.load(&target.name).await?;
        output::safe_block(&describe(&image));
        Ok(())
    }
}

fn describe(image: &Image) -> String {
    let or_never = |time: Timestamp| if units::is_unset(time) { "never".to_owned() } else { units::minute(time) };
    let mut lines = vec![
        format!("Fingerprint: {}", image.fingerprint),
        format!("Size: {}", units::megabytes(image.size)),
        format!("Architecture: {}", image.architecture),
        format!("Public: {}", if image.public { "yes" } else { "no" }),
        "Timestamps:".to_owned(),
    ];
    if !units::is_unset(image.created_at) {
        lines.push(format!("    Created: {}", units::minute(image.created_at)));
    }
    lines.push(format!("    Uploaded: {}", units::minute(image.uploaded_at)));
    lines.push(format!("    Expires: {}", or_never(image.expires_at)));
    lines.push(format!("    Last used: {}", or_never(image.last_used_at)));
    lines.push("Properties:".to_owned());
    lines.extend(image.properties.iter().map(|(key, value)| format!("    {key}: {value}")));
    lines.push("Aliases:".to_owned());
    for alias in &image.aliases {
        let description = if alias.description.is_empty() { String::new() } else { format!(" ({})", alias.description) };
        lines.push(format!("    - {}{description}", alias.name));
    }
    lines.push(format!("Cached: {}", if image.cached { "yes" } else { "no" }));
    lines.push(format!("Auto update: {}", if image.auto_update { "enabled" } else { "disabled" }));
    if let Some(source) = &image.update_source {
        lines.push("Source:".to_owned());
        let known = [("Server", &source.server), ("Protocol", &source.protocol), ("Alias", &source.alias)];
        lines.extend(known.iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| format!("    {key}: {value}")));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let image = Image {
            fingerprint: "abc".to_owned(),
            size: 1 << 20,
            architecture: "x86_64".to_owned(),
            uploaded_at: Timestamp::from_unix(1_461_187_680),
            properties: [("os".to_owned(), "Debian".to_owned())].into(),
            update_source: Some(api::images::UpdateSource { alias: "debian/12".to_owned(), protocol: "lxd".to_owned(), ..Default::default() }),
            aliases: vec![api::images::ImageAlias { name: "d".to_owned(), description: "x".to_owned() }],
            ..Image::default()
        };
        let expected = "\
Fingerprint: abc
Size: 1.00MB
Architecture: x86_64
Public: no
Timestamps:
    Uploaded: 2016/04/20 21:28 UTC
    Expires: never
    Last used: never
Properties:
    os: Debian
Aliases:
    - d (x)
Cached: no
Auto update: disabled
Source:
    Protocol: lxd
    Alias: debian/12
";
        assert_eq!(describe(&image), expected);
    }
}
