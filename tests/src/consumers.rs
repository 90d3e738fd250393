//! Consumers as an administrator changes them.

use anyhow::{Result, anyhow};
use async_nats::jetstream::{
    consumer::{FromConsumer, PullConsumer, pull},
    stream::Stream,
};

/// Changes a consumer. Its service may find that out, and have removed it, before nats-server has written the change down: then it
/// was changed all the same.
///
/// # Errors
/// There is no such consumer, or nats-server refuses the change.
pub async fn change_consumer(stream: &Stream, name: &str, change: impl FnOnce(&mut pull::Config)) -> Result<()> {
    let there: PullConsumer = stream.get_consumer(name).await.map_err(|error| anyhow!("{error}"))?;
    let mut config = pull::Config::try_from_consumer_config(there.cached_info().config.clone())
        .map_err(|error| anyhow!("{error}"))?;
    change(&mut config);
    match stream.update_consumer(config).await {
        Err(error) if error.to_string().contains("no such file or directory") => Ok(()),
        updated => Ok(updated.map(drop)?),
    }
}
