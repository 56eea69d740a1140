//! Weights on the Hugging Face hub: `hf://OWNER/REPO/FILE`, or `hf://OWNER/REPO@REVISION/FILE`.
//!
//! Files are kept where all programs of that hub keep them (`HF_HOME`, else `~/.cache/huggingface`), so that
//! what another program has fetched is not fetched again. Nothing here touches the network except [`HubFile::fetch`].

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hf_hub::api::sync::{ApiBuilder, ApiError, Metadata};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::diagnostic::{Diagnostic, Text, msg};
use crate::digest::sha256_of_file;

/// Whether this process has promised to leave the network alone.
static OFFLINE: AtomicBool = AtomicBool::new(false);

/// Promises for the rest of this process that nothing is fetched.
pub fn stay_offline() {
    OFFLINE.store(true, Ordering::Relaxed);
}

/// What a path on the hub starts with.
const SCHEME: &str = "hf://";

/// How often a broken connection is taken up again; each time from where it broke.
const RETRIES: usize = 4;

/// A file of a model repository on the hub.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HubFile {
    /// Owner and name of the repository.
    repo: String,
    /// Branch, tag or commit.
    revision: String,
    /// Path within the repository.
    file: String,
}

/// Whether a setting names a file on the hub, well written or not.
pub fn is_on_hub(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(SCHEME))
}

impl HubFile {
    /// Reads `hf://OWNER/REPO[@REVISION]/FILE`.
    ///
    /// # Errors
    /// What is not of that form (ST2180), without a place.
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
        let is_within = |text: &str| {
            let mut parts = Path::new(text).components();
            !text.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
        };
        if ![owner, name, revision, file].into_iter().all(is_within) {
            return Err(malformed());
        }
        let (repo, revision, file) = (format!("{owner}/{name}"), revision.into(), file.into());
        Ok(HubFile { repo, revision, file })
    }

    /// Where the file lies on this machine, once it was fetched.
    pub fn fetched(&self) -> Option<PathBuf> {
        Cache::from_env().repo(self.handle()).get(&self.file)
    }

    /// Fetches the file, or finds it where it was fetched before. A download that broke off goes on from where
    /// it broke; what arrived is compared with the hub's digest. `begins` is called before anything is asked
    /// for; `visible`: whether a bar shows progress.
    ///
    /// # Errors
    /// It may not be fetched (ST4020), the hub cannot be reached or refuses (ST4022), what arrived is not what the hub has (ST4023), or the
    /// file cannot be written (ST4024); without a place.
    pub fn fetch(&self, visible: bool, begins: impl FnOnce()) -> Result<PathBuf, Box<Diagnostic>> {
        if let Some(path) = self.fetched() {
            return Ok(path);
        }
        if OFFLINE.load(Ordering::Relaxed) {
            let message = msg!(NOT_ON_MACHINE, file = self.to_string());
            let fault = Diagnostic::error(message).help(msg!(FETCHED_WITHOUT_OFFLINE));
            return Err(Box::new(fault));
        }
        begins();
        let cache = Cache::from_env();
        let token = std::env::var("HF_TOKEN").ok().or_else(|| cache.token());
        let failed = |error: ApiError| Box::new(self.explain(error));
        let api = ApiBuilder::from_env().with_token(token).with_retries(RETRIES).build();
        let api = api.map_err(failed)?;
        let remote = api.repo(self.handle());
        let metadata = api.metadata(&remote.url(&self.file)).map_err(failed)?;
        let blob = cache.repo(self.handle()).blob_path(metadata.etag());
        remove_finished_part(&blob, &metadata).map_err(|error| failed(error.into()))?;

        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let path = remote.download_with_progress(&self.file, bar).map_err(failed)?;
        self.verify(&blob, &path, &metadata)?;
        Ok(path)
    }

    /// Compares what arrived with the size and the digest that the hub names, and removes it where it differs.
    fn verify(&self, blob: &Path, path: &Path, metadata: &Metadata) -> Result<(), Box<Diagnostic>> {
        let failed = |error: io::Error| Box::new(self.explain(error.into()));
        let size = fs::metadata(blob).map_err(failed)?.len();
        // Large files are named by their sha256; what the hub names otherwise is small and no checkpoint.
        let is_sha256 = metadata.etag().len() == 64;
        let equal = size == metadata.size() as u64
            && (!is_sha256 || sha256_of_file(blob).map_err(failed)? == metadata.etag());
        if equal {
            return Ok(());
        }
        fs::remove_file(path).and_then(|()| fs::remove_file(blob)).map_err(failed)?;
        let message = msg!(DOWNLOAD_DIFFERS, file = self.to_string());
        let fault = Diagnostic::error(message)
            .note(msg!(HUB_HAS, size = metadata.size(), digest = metadata.etag()))
            .note(msg!(DOWNLOAD_REMOVED, size))
            .help(msg!(FETCH_AGAIN));
        Err(Box::new(fault))
    }

    fn handle(&self) -> Repo {
        Repo::with_revision(self.repo.clone(), RepoType::Model, self.revision.clone())
    }

    /// A failure in words.
    fn explain(&self, error: ApiError) -> Diagnostic {
        let root = match error {
            ApiError::TooManyRetries(inner) => *inner,
            error => error,
        };
        if let ApiError::IoError(error) = &root
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            let cache = Cache::from_env();
            let message =
                msg!(CANNOT_KEEP_DOWNLOAD, file = self.to_string(), folder = cache.path(), error);
            return Diagnostic::error(message).help(msg!(HF_HOME_NAMES_FOLDER));
        }
        let status = match &root {
            ApiError::RequestError(error) => match **error {
                ureq::Error::StatusCode(status) => Some(status),
                _ => None,
            },
            _ => None,
        };
        match status {
            Some(404) => Diagnostic::error(msg!(HUB_HAS_NO_FILE, file = self.to_string()))
                .help(msg!(CHECK_HUB_NAMES)),
            Some(401 | 403) => {
                Diagnostic::error(msg!(HUB_FILE_RESTRICTED, file = self.to_string()))
                    .help(msg!(SET_HF_TOKEN))
            }
            _ => Diagnostic::error(msg!(
                CANNOT_FETCH,
                file = self.to_string(),
                root = Text::library(root)
            ))
            .help(msg!(RUN_AGAIN_TO_CONTINUE))
            .help(msg!(HF_ENDPOINT_NAMES_MIRROR)),
        }
    }
}

impl std::fmt::Display for HubFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { repo, revision, file } = self;
        match revision.as_str() {
            "main" => write!(f, "{SCHEME}{repo}/{file}"),
            _ => write!(f, "{SCHEME}{repo}@{revision}/{file}"),
        }
    }
}

/// Removes a part that has all its bytes: there is nothing left to ask the hub for, which it would refuse.
/// It is left behind by a process that was killed between the last byte and the renaming.
fn remove_finished_part(blob: &Path, metadata: &Metadata) -> io::Result<()> {
    let part = blob.with_extension("part");
    match fs::metadata(&part) {
        Ok(found) if found.len() >= metadata.size() as u64 => fs::remove_file(&part),
        _ => Ok(()),
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
