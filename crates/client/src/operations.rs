//! Waiting for background work.

use std::time::Duration;

use api::StatusCode;
use api::operations::Operation;

use crate::error::{Error, Result};
use crate::path::{path, with_query};
use crate::{Client, Reply};

/// Pause before the end of an operation is asked for again.
const REASK_DELAY: Duration = Duration::from_millis(50);

impl Client {
    /// Waits for the end of an operation by one long request. `operation` is an id or a URL.
    /// A failed or cancelled operation is an error.
    pub async fn wait_operation(&self, operation: &str) -> Result<Operation> {
        ensure_success(self.wait_final(operation).await?)
    }

    /// Waits for the end of the operation that a request started. A reply without operation is
    /// done already.
    pub async fn wait(&self, reply: &Reply) -> Result<Option<Operation>> {
        if !reply.is_async {
            return Ok(None);
        }
        self.wait_operation(&reply.operation()?.id).await.map(Some)
    }

    /// Like [`Client::wait_operation`], reporting every change of the operation meanwhile.
    pub async fn follow_operation(&self, operation: &Operation, mut changed: impl FnMut(&Operation)) -> Result<Operation> {
        changed(operation);
        let mut events = self.events(&["operation"]).await?;
        let wait = self.wait_final(&operation.id);
        tokio::pin!(wait);
        let mut is_listening = true;
        loop {
            tokio::select! {
                done = &mut wait => return ensure_success(done?),
                event = events.next(), if is_listening => match event {
                    Ok(Some(event)) => {
                        let Ok(seen) = serde_json::from_value::<Operation>(event.metadata) else { continue };
                        if seen.id == operation.id {
                            changed(&seen);
                        }
                    }
                    // Progress is a nicety: the long request goes on without it.
                    Ok(None) | Err(_) => is_listening = false,
                },
            }
        }
    }

    /// Asks for the end of an operation.
    pub async fn cancel_operation(&self, operation: &str) -> Result<()> {
        self.delete(&path(&["operations", id_of(operation)])).await.map(drop)
    }

    async fn wait_final(&self, operation: &str) -> Result<Operation> {
        let url = with_query(&path(&["operations", id_of(operation), "wait"]), &[("timeout", "-1")]);
        loop {
            let operation: Operation = self.get(&url).await?;
            if operation.status_code.is_final() {
                return Ok(operation);
            }
            // A server that gives up waiting is asked again, but not in a tight loop.
            tokio::time::sleep(REASK_DELAY).await;
        }
    }
}

/// The operation itself if it succeeded.
pub fn ensure_success(operation: Operation) -> Result<Operation> {
    if operation.status_code == StatusCode::SUCCESS {
        return Ok(operation);
    }
    let text = if operation.err.is_empty() { operation.status.to_lowercase() } else { operation.err };
    Err(Error::Operation { code: operation.status_code, text })
}

/// The id in `/1.0/operations/ID`, `ID?project=x` or `ID`.
fn id_of(operation: &str) -> &str {
    let operation = operation.split('?').next().unwrap_or(operation);
    operation.rsplit('/').next().unwrap_or(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_from_url() {
        for operation in ["abc", "/1.0/operations/abc", "/1.0/operations/abc?project=default"] {
            assert_eq!(id_of(operation), "abc");
        }
    }

    #[test]
    fn failure_carries_the_reason() {
        let failed = Operation { status_code: StatusCode::FAILURE, err: "no such thing".to_owned(), ..Operation::default() };
        assert_eq!(ensure_success(failed).expect_err("failed").to_string(), "no such thing");
        let cancelled = Operation { status_code: StatusCode::CANCELLED, status: "Cancelled".to_owned(), ..Operation::default() };
        assert_eq!(ensure_success(cancelled).expect_err("cancelled").kind(), crate::Kind::Cancelled);
    }
}
