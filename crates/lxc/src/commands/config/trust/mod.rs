//! `lxc config trust`: who a server trusts.

use api::certificates::{Certificate, TrustToken};
use api::operations::Operation;
use client::{Client, path};

commands! {
    /// Manage trusted clients
    group Trust {
        add => Add,
        edit => Edit,
        list => List,
        list_tokens = "list-tokens" => ListTokens,
        remove => Remove,
        revoke_token = "revoke-token" => RevokeToken,
        show => Show,
    }
}

/// The URL of a certificate.
fn url(fingerprint: &str) -> String {
    path(&["certificates", fingerprint])
}

/// What a server's certificate says of itself; nothing if it cannot be read.
fn parsed(certificate: &Certificate) -> Option<pki::Certificate> {
    pki::Certificate::from_pem(&certificate.certificate).ok()
}

/// What the operation of a token tells; `None` for any other operation.
fn token_of(operation: &Operation) -> Option<TrustToken> {
    let metadata = operation.metadata.as_ref()?;
    let expires_at = metadata.get("expiresAt").and_then(|time| serde_json::from_value(time.clone()).ok()).unwrap_or_default();
    Some(TrustToken {
        client_name: metadata.get("request")?.get("name")?.as_str()?.to_owned(),
        fingerprint: metadata.get("fingerprint")?.as_str()?.to_owned(),
        addresses: serde_json::from_value(metadata.get("addresses")?.clone()).ok()?,
        secret: metadata.get("secret")?.as_str()?.to_owned(),
        expires_at,
    })
}

/// The tokens that can be used, each with the id of its operation.
async fn tokens(client: &Client) -> anyhow::Result<Vec<(String, TrustToken)>> {
    let by_status: std::collections::BTreeMap<String, Vec<Operation>> = client.get("/1.0/operations?recursion=1").await?;
    let usable = by_status.into_values().flatten().filter(|operation| operation.class == "token" && !operation.status_code.is_final());
    Ok(usable.filter_map(|operation| Some((operation.id.clone(), token_of(&operation)?))).collect())
}
