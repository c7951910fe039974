//! Requests to a hub: one endpoint, one token, few retries, and answers that say why not.

use std::ops::Range;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::config::RedirectAuthHeaders;
use ureq::http::{StatusCode, header};
use ureq::{Agent, Body};

use super::error::{Said, Token};
use super::{HubError, Listing, Settings};
use crate::source::HubModel;

type Response = ureq::http::Response<Body>;

const USER_AGENT: &str = concat!("host-fetch/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection on which nothing comes for so long is dead.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Waits before a request is made again.
const RETRIES: [Duration; 3] = [Duration::from_millis(250), Duration::from_millis(1000), Duration::from_millis(3000)];
/// Listings and tokenizers are some megabytes; more is no answer to what was asked.
const MAX_WHOLE_ANSWER: u64 = 256 << 20;

/// Everything in a path but what needs no escape there.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
/// A revision is one segment of an address, slashes and all.
const SEGMENT: &AsciiSet = &PATH.add(b'/');

/// Talks to a hub about one repository.
pub struct Client<'a> {
    agent: Agent,
    settings: &'a Settings,
    repository: &'a str,
}

impl<'a> Client<'a> {
    pub fn new(settings: &'a Settings, model: &'a HubModel) -> Self {
        let config = Agent::config_builder()
            // The token is for the hub, not for the storage that it sends us on to.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .http_status_as_error(false)
            .user_agent(USER_AGENT)
            // Ranges and lengths are those of the stored bytes.
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .build();
        Self { agent: config.into(), settings, repository: &model.repository }
    }

    pub fn repository(&self) -> &'a str {
        self.repository
    }

    /// What the repository holds at `revision`: one request.
    pub fn listing(&self, revision: &str) -> Result<Listing, HubError> {
        let encoded = utf8_percent_encode(revision, SEGMENT);
        let Settings { endpoint, .. } = self.settings;
        let url = format!("{endpoint}/api/models/{}/revision/{encoded}?blobs=true", self.repository);
        let asked = Asked { revision, file: None };
        let json = retried(|| whole(&url, self.get(&url, None, &asked)?))?;
        Listing::parse(&json).map_err(|reason| HubError::Answer { url, reason })
    }

    /// A whole file of at most some megabytes.
    pub fn read(&self, commit: &str, file: &str) -> Result<Vec<u8>, HubError> {
        let url = self.file_url(commit, file);
        retried(|| whole(&url, self.get(&url, None, &Asked { revision: commit, file: Some(file) })?))
    }

    /// Fills `into` with the bytes of `file` from `offset` on: one ranged request.
    pub fn read_range(&self, commit: &str, file: &str, offset: u64, into: &mut [u8]) -> Result<(), HubError> {
        let url = self.file_url(commit, file);
        let range = offset..offset.saturating_add(into.len() as u64);
        retried(|| {
            let response = self.get(&url, Some(range.clone()), &Asked { revision: commit, file: Some(file) })?;
            if response.status() != StatusCode::PARTIAL_CONTENT {
                return Err(HubError::NoRanges { url: url.clone() });
            }
            let mut body = response.into_body().into_reader();
            std::io::Read::read_exact(&mut body, into)
                .map_err(|source| HubError::Interrupted { url: url.clone(), source })
        })
    }

    /// Starts to receive `file` from `start` on; `false` where the hub insists on sending it from its beginning.
    pub fn stream(&self, commit: &str, file: &str, start: u64) -> Result<(ureq::BodyReader<'static>, bool), HubError> {
        let url = self.file_url(commit, file);
        let range = (start > 0).then_some(start..u64::MAX);
        let response = retried(|| self.get(&url, range.clone(), &Asked { revision: commit, file: Some(file) }))?;
        let resumes = start == 0 || response.status() == StatusCode::PARTIAL_CONTENT;
        Ok((response.into_body().into_reader(), resumes))
    }

    pub fn file_url(&self, commit: &str, file: &str) -> String {
        let file = utf8_percent_encode(file, PATH);
        format!("{}/{}/resolve/{commit}/{file}", self.settings.endpoint, self.repository)
    }

    fn get(&self, url: &str, range: Option<Range<u64>>, asked: &Asked<'_>) -> Result<Response, HubError> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.settings.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        match range {
            Some(Range { start, end: u64::MAX }) => request = request.header(header::RANGE, format!("bytes={start}-")),
            Some(Range { start, end }) => {
                request = request.header(header::RANGE, format!("bytes={start}-{}", end.saturating_sub(1)));
            }
            None => {}
        }
        let response = request.call().map_err(|e| HubError::Network { url: url.into(), source: Box::new(e) })?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(url, &response, asked)) }
    }

    /// The hub tells reasons apart in a header of its own; mirrors may have the status alone.
    fn refusal(&self, url: &str, response: &Response, asked: &Asked<'_>) -> HubError {
        let told = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let repository = self.repository.to_owned();
        let page = format!("{}/{repository}", self.settings.endpoint);
        let token = Token { sent: self.settings.token.is_some(), file: self.settings.token_file.clone() };
        let said = Said(told("x-error-message"));
        match (response.status().as_u16(), told("x-error-code").as_deref(), asked.file) {
            (401 | 403, Some("GatedRepo"), _) | (403, ..) => HubError::Gated { repository, page, token, said },
            (404, Some("RevisionNotFound"), _) => {
                HubError::NoRevision { repository, revision: asked.revision.into(), said }
            }
            (404, Some("EntryNotFound") | None, Some(file)) => HubError::NoFile { repository, file: file.into() },
            (401 | 404, ..) => HubError::NoRepository { repository, page, token, said },
            (status, ..) => HubError::Status { url: url.into(), status, said },
        }
    }
}

/// What a request is about, for the message where it is refused.
struct Asked<'a> {
    revision: &'a str,
    file: Option<&'a str>,
}

fn whole(url: &str, response: Response) -> Result<Vec<u8>, HubError> {
    let limited = response.into_body().into_with_config().limit(MAX_WHOLE_ANSWER);
    limited.read_to_vec().map_err(|e| HubError::Network { url: url.into(), source: Box::new(e) })
}

/// Does it again a few times where that may help.
fn retried<T>(mut action: impl FnMut() -> Result<T, HubError>) -> Result<T, HubError> {
    for wait in RETRIES {
        match action() {
            Err(e) if e.is_transient() => {
                stage_api::tracing::warn!("{}; trying again", stage_api::Error::from(e));
                std::thread::sleep(wait);
            }
            done => return done,
        }
    }
    action()
}
