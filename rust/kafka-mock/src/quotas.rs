//! Clients that are to do less: told so in answers, and then not listened to for a while (KIP-219).

use bytes::Bytes;
use kafka_wire::ApiKey;

/// Whose requests are throttled, and for how long each. A field that is `None` stands for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// The client id that requests name.
    pub client_id: Option<Bytes>,
    /// The API; `None` stands for Produce and Fetch, which quotas of bytes are about.
    pub api: Option<ApiKey>,
    /// How long the client is to wait, in milliseconds; 0 ends the quota.
    pub throttle_time_ms: i32,
}

/// All that are set, one for each client id and API.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    quotas: Vec<Quota>,
}

impl Quotas {
    pub fn set(&mut self, quota: Quota) {
        self.quotas
            .retain(|known| (&known.client_id, known.api) != (&quota.client_id, quota.api));
        if quota.throttle_time_ms > 0 {
            self.quotas.push(quota);
        }
    }

    /// How long whoever sends a request is to wait: by the quota of its client id, or else everybody's.
    pub fn throttle_time_ms(&self, client_id: &Option<Bytes>, api: ApiKey) -> i32 {
        let is_about = |quota: &&Quota| match quota.api {
            Some(only) => only == api,
            None => matches!(api, ApiKey::Produce | ApiKey::Fetch),
        };
        let longest = |own: bool| {
            let quotas = self.quotas.iter().filter(is_about).filter(|quota| {
                quota.client_id.is_some() == own && (!own || quota.client_id == *client_id)
            });
            quotas.map(|quota| quota.throttle_time_ms).max()
        };
        longest(true).or_else(|| longest(false)).unwrap_or(0)
    }
}
