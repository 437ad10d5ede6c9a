//! Tokens: secrets that let one client in, once.
//!
//! A token is an operation of its class, so it can be listed and revoked; it is gone with the daemon.

use std::sync::{Arc, Mutex};

use api::StatusCode;
use api::certificates::TrustToken;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::operations::{New, Operation, Operations, is_same_secret, new_secret};
use crate::sync::lock;
use crate::{Error, Result};

/// Most tokens at a time.
const MAX_TOKENS: usize = 256;

/// The tokens that can be used.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    all: Mutex<Vec<Token>>,
}

/// What a token tells whoever gets it.
#[derive(Debug)]
pub(super) struct About {
    /// Name that the client's certificate will have.
    pub name: String,
    /// Of the server's certificate.
    pub fingerprint: String,
    /// Of the server.
    pub addresses: Vec<String>,
}

/// One of them.
pub(super) struct Token {
    secret: String,
    name: String,
    expires_at: Option<Timestamp>,
    operation: Arc<Operation>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tokens {
    /// A new one, valid for `lifetime` seconds or until it is revoked.
    pub fn create(&self, operations: &Operations, about: About, lifetime: Option<u64>) -> Result<Arc<Operation>> {
        let mut all = lock(&self.all);
        all.retain(Token::is_usable);
        if all.len() >= MAX_TOKENS {
            return Err(Error::unavailable("Too many tokens are waiting to be used").hint("revoke some of them"));
        }
        let secret = new_secret();
        let mut metadata = json!({
            "secret": secret,
            "fingerprint": about.fingerprint,
            "addresses": about.addresses,
            "request": {"name": about.name, "type": super::CLIENT, "token": true},
        });
        let lifetime = lifetime.map(|seconds| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)));
        let expires_at = lifetime.map(|lifetime| Timestamp::now().saturating_add(lifetime).unwrap_or(Timestamp::MAX));
        if let Some(expires_at) = expires_at {
            metadata["expiresAt"] = json!(expires_at.to_string());
        }
        let operation = operations.token(New { metadata: Some(metadata), ..New::plain("Executing operation") })?;
        all.push(Token { secret, name: about.name, expires_at, operation: operation.clone() });
        Ok(operation)
    }

    /// Takes the token that `text` stands for, as [`TrustToken`] or as its secret alone. From then on it cannot be
    /// revoked, so what is let in by it was let in while it was good.
    pub fn take(&self, text: &str) -> Option<Token> {
        let decoded = TrustToken::decode(text);
        let secret = decoded.as_ref().map_or(text, |token| &token.secret);
        let mut all = lock(&self.all);
        all.retain(Token::is_usable);
        // Every one is looked at, so that time tells nothing about which one came close.
        let mut found = None;
        for (index, token) in all.iter().enumerate() {
            if is_same_secret(&token.secret, secret) {
                found = Some(index);
            }
        }
        // Somebody may have revoked it just now.
        found.map(|index| all.swap_remove(index)).filter(|token| token.operation.seal().is_ok())
    }

    /// A token that was taken and could not be used.
    pub fn put_back(&self, token: Token) {
        token.operation.on_cancel(|| {});
        lock(&self.all).push(token);
    }
}

impl Token {
    /// The name for the certificate of whoever uses it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It has served its purpose.
    pub fn used(self) {
        self.operation.end(Ok(None));
    }

    /// Whether it is neither expired nor revoked; an expired one ends its operation.
    fn is_usable(&self) -> bool {
        if self.expires_at.is_some_and(|end| end <= Timestamp::now()) {
            self.operation.end(Err(Error::unavailable("the token has expired")));
        }
        self.operation.status() == StatusCode::RUNNING
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Events;

    #[test]
    fn a_token_in_use_is_not_revoked_and_a_revoked_one_is_not_used() {
        let operations = Operations::new(Arc::new(Events::default()));
        let tokens = Tokens::default();
        let create = || {
            let about = About { name: "laptop".to_owned(), fingerprint: String::new(), addresses: Vec::new() };
            let operation = tokens.create(&operations, about, None).expect("token");
            let metadata = operation.render().metadata.expect("metadata");
            (operation, metadata["secret"].as_str().expect("secret").to_owned())
        };
        let (operation, secret) = create();
        let token = tokens.take(&secret).expect("there");
        assert!(tokens.take(&secret).is_none(), "it is in use");
        operation.cancel().expect_err("it is in use");
        tokens.put_back(token);
        let token = tokens.take(&secret).expect("there again");
        tokens.put_back(token);
        operation.cancel().expect("revoked");
        assert!(tokens.take(&secret).is_none(), "it was revoked");

        let (operation, secret) = create();
        tokens.take(&secret).expect("there").used();
        assert_eq!(operation.status(), StatusCode::SUCCESS);
        operation.cancel().expect_err("it was used");
    }
}
