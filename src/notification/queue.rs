//! A queue of notifications: receive, keep invisible, delete.

use serde::Deserialize;

/// `[queue.<name>]`: an SQS queue. One queue may serve several feeds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The queue's URL. Either this or `name`.
    pub url: Option<String>,
    /// The queue's name, looked up in the identity's account.
    pub name: Option<String>,
    /// The queue's region. Default: read from the URL, else from the environment.
    pub region: Option<String>,
    /// Another SQS endpoint.
    pub endpoint_url: Option<String>,
    /// Who reads the queue: an `[identity.<name>]`. Default: the default chain.
    pub identity: Option<String>,
    /// How many long polls are under way at once (1 to 16). Default: 2.
    #[serde(default = "default_receivers")]
    pub receivers: usize,
    /// How many seconds a received message is kept invisible at a time; extended at half of it (10 to 3600).
    /// Default: 120.
    #[serde(default = "default_visibility_secs")]
    pub visibility_secs: u32,
    /// How many received messages are held at once; past it the queue is not polled (10 to 100000). Default: 1000.
    #[serde(default = "default_held_max")]
    pub held_max: usize,
    /// After how many receives a message that cannot be understood is quarantined and deleted. Only reached where the
    /// queue has no redrive policy that moves it to a dead-letter queue sooner. Default: 20.
    #[serde(default = "default_poison_receives_max")]
    pub poison_receives_max: u32,
}

impl Config {
    /// The queue of this URL, everything else as by default.
    pub fn of_url(url: String) -> Self {
        Self { url: Some(url), ..Self::default() }
    }

    /// The queue of this name, everything else as by default.
    pub fn of_name(name: String) -> Self {
        Self { name: Some(name), ..Self::default() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            name: None,
            region: None,
            endpoint_url: None,
            identity: None,
            receivers: default_receivers(),
            visibility_secs: default_visibility_secs(),
            held_max: default_held_max(),
            poison_receives_max: default_poison_receives_max(),
        }
    }
}

const fn default_receivers() -> usize {
    2
}

const fn default_visibility_secs() -> u32 {
    120
}

const fn default_held_max() -> usize {
    1000
}

const fn default_poison_receives_max() -> u32 {
    20
}
