//! Requests to a hub, which is not trusted: the token goes to the hub's own host alone, redirects are few, and what an
//! answer says is checked before it is used.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::http::{Response, Uri, header};
use ureq::{Agent, Body};

use crate::diagnostic::{Text, msg};
use crate::digest::sha256_hex;
use crate::work::Work;

/// Redirects that are followed at most.
const MAX_REDIRECTS: usize = 10;
/// Retries of a broken connection; each continues where the download stopped.
const RETRIES: u32 = 4;
/// The wait before the first retry; it doubles each time.
const WAIT: Duration = Duration::from_millis(300);
/// How often a wait looks whether the download should stop.
const LOOK: Duration = Duration::from_millis(50);
/// How long a connection and the head of an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most pages of a listing, and bytes of a page.
const MAX_PAGES: usize = 100;
const MAX_PAGE_BYTES: u64 = 16 << 20;
/// Digits of a commit, and of the sha256 of a large file.
const COMMIT_DIGITS: usize = 40;
const SHA256_DIGITS: usize = 64;

/// Why a file was not downloaded.
#[derive(Debug)]
pub(super) enum HubError {
    /// The hub refused, with this HTTP status.
    Status(u16),
    /// The hub answered with something else than a file, or cannot be reached.
    Answer(Text),
    /// The file cannot be written.
    Disk(io::Error),
}

impl From<io::Error> for HubError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<ureq::Error> for HubError {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::StatusCode(status) => Self::Status(status),
            other => Self::Answer(Text::library(other)),
        }
    }
}

/// What a hub says about a file.
#[derive(Debug)]
pub(super) struct Remote {
    /// The commit: 40 hexadecimal digits.
    pub(super) commit: String,
    /// The tag of the content: the sha256 of a large file.
    etag: String,
    /// Bytes.
    pub(super) size: u64,
}

impl Remote {
    /// The sha256 of the content, where the hub tells it.
    pub(super) fn sha256(&self) -> Option<&str> {
        (self.etag.len() == SHA256_DIGITS && is_hex(&self.etag)).then_some(&*self.etag)
    }

    /// The tag for messages.
    pub(super) fn etag(&self) -> &str {
        &self.etag
    }

    /// A file name for the content: the tag, or the digest of a tag of another form.
    pub(super) fn blob_name(&self) -> String {
        let usual = [COMMIT_DIGITS, SHA256_DIGITS].contains(&self.etag.len()) && is_hex(&self.etag);
        if usual { self.etag.clone() } else { sha256_hex(&self.etag) }
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A client of one hub.
pub(super) struct Client {
    agent: Agent,
    hub: Uri,
    token: Option<String>,
}

impl Client {
    /// A client of the hub at `endpoint`.
    pub(super) fn new(endpoint: &str, token: Option<String>) -> Result<Client, HubError> {
        let hub = endpoint.parse::<Uri>().ok().filter(is_web);
        let hub =
            hub.ok_or_else(|| HubError::Answer(msg!(NOT_A_WEB_ADDRESS, address = endpoint)))?;
        let config = Agent::config_builder()
            .max_redirects(0)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE));
        Ok(Client { agent: config.build().into(), hub, token })
    }

    /// Asks what the hub has at `url`.
    pub(super) fn look(&self, url: &str) -> Result<Remote, HubError> {
        let mut tags = None;
        let answer = self.get(url, Some("bytes=0-0"), |answer| {
            let text = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
            // The hub itself names commit and tag; the host that keeps the file does not know them.
            if tags.is_none() {
                let etag = text("x-linked-etag").or_else(|| text("etag"));
                tags = text("x-repo-commit").zip(etag);
            }
        })?;
        let (commit, etag) = tags.ok_or(HubError::Answer(msg!(NO_COMMIT_OR_ETAG)))?;
        if commit.len() != COMMIT_DIGITS || !is_hex(&commit) {
            return Err(HubError::Answer(msg!(NOT_A_COMMIT, commit)));
        }
        let (_, size) = range(&answer).ok_or(HubError::Answer(msg!(NO_RANGE)))?;
        let etag = etag.trim_start_matches("W/").replace('"', "");
        Ok(Remote { commit, etag, size })
    }

    /// Appends to `part` the bytes of the file at `url` that it lacks. A request to stop unwinds; what has arrived stays.
    pub(super) fn download(&self, url: &str, size: u64, part: &mut File) -> Result<(), HubError> {
        let before = part.metadata()?.len() % size.max(1);
        let mut work = Work::begin("downloading", size - before);
        let mut told = |done: u64| work.set(done.saturating_sub(before));
        let mut wait = WAIT;
        for retry in 0..=RETRIES {
            match self.download_on(url, size, part, &mut told) {
                Err(HubError::Answer(_) | HubError::Status(500..)) if retry < RETRIES => {
                    let until = Instant::now() + wait;
                    while Instant::now() < until {
                        sleep(LOOK);
                        told(part.metadata()?.len());
                    }
                    wait *= 2;
                }
                done => return done,
            }
        }
        unreachable!("the last try returns")
    }

    fn download_on(
        &self,
        url: &str,
        size: u64,
        part: &mut File,
        told: &mut dyn FnMut(u64),
    ) -> Result<(), HubError> {
        let mut done = part.metadata()?.len();
        if done >= size {
            // A process was killed before it compared the digest, or the file has changed.
            part.set_len(0)?;
            done = 0;
        }
        let answer = self.get(url, Some(&format!("bytes={done}-")), |_| {})?;
        if range(&answer) != Some((done, size)) {
            return Err(HubError::Answer(msg!(NO_RANGE)));
        }
        // More bytes than announced are not kept.
        let mut body = answer.into_body().into_reader().take(size - done);
        let mut block = vec![0; 1 << 16];
        while done < size {
            let read = body.read(&mut block);
            let count = read.map_err(|error| HubError::Answer(Text::library(error)))?;
            if count == 0 {
                return Err(HubError::Answer(msg!(DOWNLOAD_CUT_OFF)));
            }
            part.write_all(&block[..count])?;
            done += count as u64;
            told(done);
        }
        Ok(())
    }

    /// The paths of all files of a repository, whose tree is at `url`.
    pub(super) fn list(&self, url: &str) -> Result<Vec<String>, HubError> {
        let mut files = Vec::new();
        let mut next = Some(url.to_owned());
        for _ in 0..MAX_PAGES {
            let Some(url) = next else { return Ok(files) };
            let mut link = None;
            let answer = self.get(&url, None, |answer| {
                let text = answer.headers().get(header::LINK).and_then(|link| link.to_str().ok());
                link = text.and_then(next_page);
            })?;
            let mut text = Vec::new();
            let mut body = answer.into_body().into_reader().take(MAX_PAGE_BYTES);
            body.read_to_end(&mut text).map_err(|error| HubError::Answer(Text::library(error)))?;
            let entries: Vec<TreeEntry> =
                serde_json::from_slice(&text).map_err(|_| HubError::Answer(msg!(NOT_A_LISTING)))?;
            let found = entries.into_iter().filter(|entry| entry.kind == "file");
            files.extend(found.map(|entry| entry.path));
            next = link;
        }
        Err(HubError::Answer(msg!(NOT_A_LISTING)))
    }

    /// The answer, for a range of bytes or all, after redirects; `look` sees each answer.
    fn get(
        &self,
        url: &str,
        range: Option<&str>,
        mut look: impl FnMut(&Response<Body>),
    ) -> Result<Response<Body>, HubError> {
        let wrong = |address: &str| HubError::Answer(msg!(NOT_A_WEB_ADDRESS, address));
        let mut uri = url.parse::<Uri>().ok().filter(is_web).ok_or_else(|| wrong(url))?;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&uri);
            if let Some(range) = range {
                request = request.header(header::RANGE, range);
            }
            if let Some(token) = self.token.as_ref().filter(|_| is_same_host(&uri, &self.hub)) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let answer = request.call()?;
            look(&answer);
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let to = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
            let to = to.unwrap_or_default();
            uri = follow(&uri, to).ok_or_else(|| wrong(to))?;
        }
        Err(HubError::Answer(msg!(TOO_MANY_REDIRECTS, most = MAX_REDIRECTS)))
    }
}

/// A file or folder of a repository.
#[derive(Deserialize)]
struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

/// The address of the next page, in the header `Link` of an answer.
fn next_page(link: &str) -> Option<String> {
    let next = link.split(',').find(|one| one.contains("rel=\"next\""))?;
    Some(next.split_once('<')?.1.split_once('>')?.0.to_owned())
}

/// The first byte of an answer and the size of the whole file.
fn range(answer: &Response<Body>) -> Option<(u64, u64)> {
    let text = answer.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (bytes, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = bytes.split_once('-')?;
    Some((first.parse().ok()?, size.parse().ok()?))
}

fn is_web(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
}

fn is_same_host(one: &Uri, other: &Uri) -> bool {
    let place = |uri: &Uri| {
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        (is_https, uri.host().map(str::to_lowercase), port)
    };
    place(one) == place(other)
}

/// Where a redirect from `from` leads; `None` unless it is a web address, encrypted if `from` is.
fn follow(from: &Uri, to: &str) -> Option<Uri> {
    let base = format!("{}://{}", from.scheme_str()?, from.authority()?);
    let whole = match to {
        "" => return None,
        to if to.starts_with("//") => format!("{}:{to}", from.scheme_str()?),
        to if to.starts_with('/') => format!("{base}{to}"),
        to if to.contains("://") => to.to_owned(),
        to => {
            format!("{base}{}/{to}", from.path().rsplit_once('/').map_or("", |(folder, _)| folder))
        }
    };
    let next = whole.parse::<Uri>().ok().filter(is_web)?;
    let downgrades = from.scheme_str() == Some("https") && next.scheme_str() != Some("https");
    (!downgrades).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_web_addresses() {
        let from: Uri = "https://hub.example/a/b/c?d".parse().expect("an address");
        let followed = |to: &str| follow(&from, to).map(|uri| uri.to_string());
        for (to, expected) in [
            ("https://cdn.example/x", Some("https://cdn.example/x")),
            ("/x?y", Some("https://hub.example/x?y")),
            ("//cdn.example/x", Some("https://cdn.example/x")),
            ("x", Some("https://hub.example/a/b/x")),
            ("http://hub.example/x", None),
            ("file:///etc/passwd", None),
            ("", None),
        ] {
            assert_eq!(followed(to).as_deref(), expected, "{to}");
        }
    }

    #[test]
    fn a_host_is_scheme_name_and_port() {
        let same = |one: &str, other: &str| {
            is_same_host(&one.parse().expect("an address"), &other.parse().expect("an address"))
        };
        assert!(same("https://Hub.example/a", "https://hub.example:443/b"));
        assert!(!same("https://hub.example", "http://hub.example"));
        assert!(!same("http://hub.example:8080", "http://hub.example"));
        assert!(!same("https://hub.example", "https://hub.example.evil"));
    }

    #[test]
    fn a_blob_never_leaves_its_folder() {
        let name = |etag: &str| {
            let commit = String::new();
            Remote { commit, etag: etag.to_owned(), size: 1 }.blob_name()
        };
        let digest = sha256_hex("x");
        assert_eq!(name(&digest), digest);
        for etag in ["../../evil", "/etc/passwd", "", &"/".repeat(64), &"../".repeat(16)[..40]] {
            let name = name(etag);
            assert!(name.len() == 64 && is_hex(&name), "{name}");
        }
    }
}
