//! Weights on the Hugging Face Hub: `hf://OWNER/REPO/FILE`, or `hf://OWNER/REPO@REVISION/FILE`; and data sets:
//! `hf://datasets/OWNER/REPO`.
//!
//! Files are cached where other Hugging Face programs cache them (`HF_HOME`, else `~/.cache/huggingface`), and no file
//! is downloaded twice. Only [`HubFile::fetch`] uses the network. All names in the cache come from the request, or are
//! hexadecimal digits: a hub cannot choose where a file is written.

mod client;
mod dataset;

use std::env;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use client::{Client, HubError, Remote};
pub use dataset::{DatasetFiles, HubDataset};

use crate::diagnostic::{Diagnostic, Text, msg};
use crate::digest::sha256_of_file;
use crate::tensorfile::write_atomically;

/// Whether this process must not use the network.
static OFFLINE: AtomicBool = AtomicBool::new(false);

/// Forbids downloads for the rest of this process.
pub fn stay_offline() {
    OFFLINE.store(true, Ordering::Relaxed);
}

/// Start of every path on the hub.
const SCHEME: &str = "hf://";

/// The hub, unless `HF_ENDPOINT` names another.
const ENDPOINT: &str = "https://huggingface.co";

/// A file of a repository on the hub.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HubFile {
    /// Start of the repository's addresses: empty for models, `datasets/` for data sets.
    prefix: &'static str,
    /// Owner and name of the repository.
    repo: String,
    /// Branch, tag or commit.
    revision: String,
    /// Path within the repository.
    file: String,
}

/// Whether a setting names a file on the hub, whether well formed or not.
pub fn is_on_hub(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(SCHEME))
}

impl HubFile {
    /// Reads `hf://OWNER/REPO[@REVISION]/FILE`.
    ///
    /// # Errors
    /// ST2180, without a place: the path is malformed.
    pub fn parse(path: &Path) -> Result<HubFile, Box<Diagnostic>> {
        let malformed = || {
            let message = msg!(NOT_A_HUB_FILE, path);
            let fault = Diagnostic::error(message).help(msg!(HUB_FILE_FORM));
            Box::new(fault)
        };
        let rest =
            path.to_str().and_then(|text| text.strip_prefix(SCHEME)).ok_or_else(malformed)?;
        let [owner, name, file] = rest.splitn(3, '/').collect::<Vec<_>>()[..] else {
            return Err(malformed());
        };
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let is_data = format!("{owner}/") == dataset::DATASETS;
        if is_data || ![owner, name, revision, file].into_iter().all(is_within) {
            return Err(malformed());
        }
        let (repo, revision, file) = (format!("{owner}/{name}"), revision.into(), file.into());
        Ok(HubFile { prefix: "", repo, revision, file })
    }

    /// The path of the file in the local cache; `None` if it was never downloaded.
    pub fn fetched(&self) -> Option<PathBuf> {
        let folder = self.folder();
        let commit = fs::read_to_string(folder.join("refs").join(&self.revision)).ok()?;
        Some(folder.join("snapshots").join(commit.trim()).join(&self.file))
            .filter(|path| path.exists())
    }

    /// The path of the file, which is downloaded unless the cache has it. An interrupted download continues where it
    /// stopped; the size and digest are verified. `begins` is called before the first request. The
    /// download is [`Work`](crate::work::Work), which shows how far it is and stops when it is asked to.
    ///
    /// # Errors
    /// Without a place: downloads are forbidden (ST4020), the hub cannot be reached or refuses (ST4022), the downloaded
    /// file differs from the hub's (ST4023), or the file cannot be written (ST4024).
    pub fn fetch(&self, begins: impl FnOnce()) -> Result<PathBuf, Box<Diagnostic>> {
        if let Some(path) = self.fetched() {
            return Ok(path);
        }
        if OFFLINE.load(Ordering::Relaxed) {
            return Err(Box::new(not_here(self)));
        }
        begins();
        let failed = |error: HubError| Box::new(self.explain(error));
        let client = client(&endpoint()).map_err(failed)?;
        let revision = self.revision.replace('/', "%2F");
        let Self { prefix, repo, file, .. } = self;
        let file: Vec<String> = file.split('/').map(escaped).collect();
        let url = format!("{}/{prefix}{repo}/resolve/{revision}/{}", endpoint(), file.join("/"));
        let remote = client.look(&url).map_err(failed)?;

        let blob = self.folder().join("blobs").join(remote.blob_name());
        self.download(&client, &url, &remote, &blob)?;
        self.link(&remote, &blob).map_err(|error| failed(error.into()))
    }

    /// Downloads a blob. Another process that downloads the same is waited for.
    fn download(
        &self,
        client: &Client,
        url: &str,
        remote: &Remote,
        blob: &Path,
    ) -> Result<(), Box<Diagnostic>> {
        let failed = |error: HubError| Box::new(self.explain(error));
        let disk = |error: io::Error| failed(error.into());
        let path = blob.with_extension("part");
        fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).map_err(disk)?;
        let mut part = File::options().create(true).append(true).open(&path).map_err(disk)?;
        part.lock().map_err(disk)?;
        if blob.exists() {
            return Ok(());
        }
        client.download(url, remote.size, &mut part).map_err(failed)?;
        part.sync_all().map_err(disk)?;
        self.verify(&path, remote)?;
        fs::rename(&path, blob).map_err(disk)
    }

    /// Compares the downloaded file with the digest of the hub, and removes a file that differs.
    fn verify(&self, path: &Path, remote: &Remote) -> Result<(), Box<Diagnostic>> {
        let failed = |error: io::Error| Box::new(self.explain(error.into()));
        // A file without a sha256 on the hub is small and not a checkpoint.
        let Some(expected) = remote.sha256() else { return Ok(()) };
        if sha256_of_file(path).map_err(failed)? == expected {
            return Ok(());
        }
        let size = fs::metadata(path).map_err(failed)?.len();
        fs::remove_file(path).map_err(failed)?;
        let message = msg!(DOWNLOAD_DIFFERS, file = self.to_string());
        let fault = Diagnostic::error(message)
            .note(msg!(HUB_HAS, size = remote.size, digest = remote.etag()))
            .note(msg!(DOWNLOAD_REMOVED, size))
            .help(msg!(FETCH_AGAIN));
        Err(Box::new(fault))
    }

    /// Links the blob as the file of its commit, and notes the commit of the revision, as other programs do.
    fn link(&self, remote: &Remote, blob: &Path) -> io::Result<PathBuf> {
        let folder = self.folder();
        let snapshot = folder.join("snapshots").join(&remote.commit);
        let path = snapshot.join(&self.file);
        let above = Path::new(&self.file).components().count() + 1;
        let target: PathBuf = std::iter::repeat_n("..", above).collect();
        let name = blob.file_name().unwrap_or_default();
        fs::create_dir_all(path.parent().unwrap_or(&snapshot))?;
        match symlink(target.join("blobs").join(name), &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let revision = folder.join("refs").join(&self.revision);
        fs::create_dir_all(revision.parent().unwrap_or(&folder))?;
        write_atomically(&revision, |file| file.write_all(remote.commit.as_bytes()))?;
        Ok(path)
    }

    /// The folder of the repository in the cache.
    fn folder(&self) -> PathBuf {
        folder_of(self.prefix, &self.repo)
    }

    /// The message for a failed download.
    fn explain(&self, error: HubError) -> Diagnostic {
        refusal(self, error)
    }
}

/// The message for a download of `name` that failed.
fn refusal(name: &impl ToString, error: HubError) -> Diagnostic {
    let file = name.to_string();
    let unreachable = |root: Text| {
        Diagnostic::error(msg!(CANNOT_FETCH, file, root))
            .help(msg!(RUN_AGAIN_TO_CONTINUE))
            .help(msg!(HF_ENDPOINT_NAMES_MIRROR))
    };
    match error {
        HubError::Disk(error) => {
            let message = msg!(CANNOT_KEEP_DOWNLOAD, file, folder = cache(), error);
            Diagnostic::error(message).help(msg!(HF_HOME_NAMES_FOLDER))
        }
        HubError::Status(404) => {
            Diagnostic::error(msg!(HUB_HAS_NO_FILE, file)).help(msg!(CHECK_HUB_NAMES))
        }
        HubError::Status(401 | 403) => {
            Diagnostic::error(msg!(HUB_FILE_RESTRICTED, file)).help(msg!(SET_HF_TOKEN))
        }
        HubError::Status(status) => unreachable(msg!(HUB_ANSWERS_STATUS, status)),
        HubError::Answer(root) => unreachable(root),
    }
}

/// The message for what is not in the cache while downloads are forbidden.
fn not_here(name: &impl ToString) -> Diagnostic {
    let message = msg!(NOT_ON_MACHINE, file = name.to_string());
    Diagnostic::error(message).help(msg!(FETCHED_WITHOUT_OFFLINE))
}

/// Whether a path stays within its folder.
fn is_within(text: &str) -> bool {
    let mut parts = Path::new(text).components();
    !text.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// A part of a path as a part of an address.
fn escaped(part: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~@+=,".contains(&byte);
    let escape = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    part.bytes().map(escape).collect()
}

/// The address of the hub.
fn endpoint() -> String {
    let endpoint = env::var("HF_ENDPOINT").unwrap_or_else(|_| ENDPOINT.to_owned());
    endpoint.trim_end_matches('/').to_owned()
}

/// A client of the hub, with the user's token.
fn client(endpoint: &str) -> Result<Client, HubError> {
    Client::new(endpoint, token())
}

/// The folder of a repository in the cache.
fn folder_of(prefix: &str, repo: &str) -> PathBuf {
    let kind = if prefix.is_empty() { "models" } else { prefix.trim_end_matches('/') };
    cache().join(format!("{kind}--{}", repo.replace('/', "--")))
}

/// The folder where Hugging Face programs keep everything.
fn home() -> PathBuf {
    let own = || env::home_dir().unwrap_or_default().join(".cache").join("huggingface");
    env::var_os("HF_HOME").map_or_else(own, PathBuf::from)
}

/// The cache of files.
fn cache() -> PathBuf {
    home().join("hub")
}

/// The user's token, from `HF_TOKEN` or from the file of `hf auth login`.
fn token() -> Option<String> {
    let stored = || fs::read_to_string(home().join("token")).ok();
    let token = env::var("HF_TOKEN").ok().or_else(stored)?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

impl std::fmt::Display for HubFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { prefix, repo, revision, file } = self;
        match revision.as_str() {
            "main" => write!(f, "{SCHEME}{prefix}{repo}/{file}"),
            _ => write!(f, "{SCHEME}{prefix}{repo}@{revision}/{file}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_on_the_hub_has_an_owner_a_repository_and_a_path() {
        let parsed = |text: &str| HubFile::parse(Path::new(text)).map(|file| file.to_string());
        for sound in ["hf://a/b/c.pth", "hf://a/b/folder/c.pth", "hf://a/b@v1.0/c.pth"] {
            assert_eq!(parsed(sound).as_deref(), Ok(sound));
        }
        assert_eq!(parsed("hf://a/b@main/c.pth").as_deref(), Ok("hf://a/b/c.pth"));
        let malformed = [
            "hf://",
            "hf://a",
            "hf://a/b",
            "hf://a/b/",
            "hf://a//c",
            "hf://a/b@/c",
            "hf://a/b/../c",
            "hf://../b/c",
            "c.pth",
            "hf:/a/b/c",
        ];
        for text in malformed {
            let fault = parsed(text).expect_err(text);
            assert_eq!(
                (fault.code, fault.message.to_string()),
                ("ST2180", format!("`{text}` is not a valid hub path"))
            );
        }
    }

    #[test]
    fn only_what_starts_with_the_scheme_is_on_the_hub() {
        assert!(is_on_hub(Path::new("hf://a/b/c")) && is_on_hub(Path::new("hf://")));
        assert!(!is_on_hub(Path::new("models/hf.pth")) && !is_on_hub(Path::new("./hf://a/b/c")));
    }
}
