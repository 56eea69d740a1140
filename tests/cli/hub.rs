//! Weights on a hub: a small server on this machine stands for it.

use statetune_core::digest::sha256_hex;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::case::{Case, Output, STATE, base_model, program};
use crate::resume::{signal, wait_until};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const PATH: &str = "/someone/small/resolve/main/models/base.pth";

/// How the hub behaves.
#[derive(Default)]
struct Manners {
    /// The token without which it gives nothing.
    token: Option<&'static str>,
    /// How many times the connection breaks in the middle of a file.
    breaks: AtomicUsize,
    /// One byte of the file arrives changed.
    damages: bool,
    /// What it says instead of the digest of the file and the commit.
    etag: Option<&'static str>,
    commit: Option<&'static str>,
    /// How many times it falls silent in the middle of a file, with the connection open.
    stalls: AtomicUsize,
    /// Where it sends every request; `Some("")` is a redirect to nowhere.
    redirect: Option<String>,
}

/// A hub with one file, `hf://someone/small/models/base.pth`.
struct Hub {
    address: String,
    /// First line and range of each request for the file's bytes.
    asked: Arc<Mutex<Vec<String>>>,
    /// The token of each request.
    tokens: Arc<Mutex<Vec<Option<String>>>>,
}

impl Hub {
    fn new(manners: Manners) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&asked);
        let tokens = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&tokens);
        // The thread ends with the process: a test never waits for it.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up is one of the cases.
                let _ = serve(stream, &manners, &record, &seen);
            }
        });
        Hub { address, asked, tokens }
    }

    /// The case's experiment with the weights on this hub, run with these arguments.
    fn run(&self, case: &Case, arguments: &[&str], token: Option<&str>) -> Output {
        let home = home(case);
        let home = home.to_str().expect("UTF-8");
        let mut environment = vec![("HF_ENDPOINT", &*self.address), ("HF_HOME", home)];
        environment.extend(token.map(|token| ("HF_TOKEN", token)));
        case.statetune_with(arguments, &environment)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

/// Answers one request and closes the connection.
fn serve(
    mut stream: TcpStream,
    manners: &Manners,
    asked: &Mutex<Vec<String>>,
    tokens: &Mutex<Vec<Option<String>>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_string());
    }
    tokens.lock().expect("not poisoned").push(headers.get("authorization").cloned());
    if let Some(to) = &manners.redirect {
        let location = if to.is_empty() { String::new() } else { format!("Location: {to}\r\n") };
        let digest = sha256_hex(base_model());
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\n{location}ETag: \"{digest}\"\r\nX-Repo-Commit: {COMMIT}\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let mut refuse = |status: &str| {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    };
    let bearer = manners.token.map(|token| format!("Bearer {token}"));
    if bearer.is_some() && headers.get("authorization") != bearer.as_ref() {
        return refuse("401 Unauthorized");
    }
    if request.split(' ').nth(1) != Some(PATH) {
        return refuse("404 Not Found");
    }
    let file = base_model();
    let range = headers.get("range").map_or("bytes=0-", String::as_str);
    asked.lock().expect("not poisoned").push(range.to_string());
    let (first, last) = range.trim_start_matches("bytes=").split_once('-').expect("a range");
    let first: usize = first.parse().expect("a number");
    let last = last.parse().map_or(file.len(), |last: usize| last + 1);
    if first >= file.len() {
        return refuse("416 Range Not Satisfiable");
    }
    let mut bytes = file[first..last].to_vec();
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{}/{}\r\n\
         ETag: \"{}\"\r\nX-Repo-Commit: {}\r\nConnection: close\r\n\r\n",
        bytes.len(),
        last - 1,
        file.len(),
        manners.etag.map_or_else(|| sha256_hex(file), str::to_owned),
        manners.commit.unwrap_or(COMMIT),
    )?;
    if bytes.len() > 1 {
        let left = |left: usize| left.checked_sub(1);
        if manners.stalls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            // Drop by drop, so that the download is never done.
            for byte in &bytes[..bytes.len() / 2] {
                stream.write_all(&[*byte])?;
                thread::sleep(Duration::from_millis(20));
            }
            return Ok(());
        }
        if manners.breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            bytes.truncate(bytes.len() / 2);
        }
        if manners.damages {
            bytes[0] ^= 1;
        }
    }
    stream.write_all(&bytes)
}

fn home(case: &Case) -> PathBuf {
    case.path("hub-home")
}

fn case() -> Case {
    Case::new().with(STATE, "base.pth", "hf://someone/small/models/base.pth")
}

#[test]
fn weights_are_fetched_once_and_then_used_without_a_network() {
    let (case, hub) = (case(), Hub::new(Manners::default()));
    let fetched = hub.run(&case, &["run", STATE], None);
    assert_eq!(
        fetched.is_done().stderr.lines().next(),
        Some("fetching hf://someone/small/models/base.pth")
    );
    // The digest and the size are asked for, then the file.
    assert_eq!(hub.asked().last().map(String::as_str), Some("bytes=0-"));
    let requests = hub.asked().len();
    let run = case.only_run();
    assert!(
        case.read(run.join("resolved.toml"))
            .contains("load_model = \"hf://someone/small/models/base.pth\"")
    );

    let again = hub.run(&case, &["run", "--offline", STATE], None);
    assert!(!again.is_done().stderr.contains("fetching"), "{again:?}");
    let generated = hub.run(&case, &["generate", "latest", "--prompt", "hi"], None);
    generated.is_done();
    assert_eq!(hub.asked().len(), requests, "nothing is asked for again");
}

#[test]
fn a_broken_download_resumes_where_it_broke() {
    let (case, hub) = (case(), Hub::new(Manners { breaks: 2.into(), ..Manners::default() }));
    hub.run(&case, &["run", STATE], None).is_done();
    let half = base_model().len() - base_model().len() / 2;
    let asked = hub.asked();
    let ranges = &asked[asked.len() - 3..];
    assert_eq!(ranges[..2], ["bytes=0-".to_string(), format!("bytes={}-", base_model().len() / 2)]);
    assert!(half > 0 && ranges[2] > ranges[1], "{ranges:?}");
}

/// A signal during a download ends the process with the code of the signal, and the next download continues.
#[test]
fn a_download_stops_when_it_is_asked_to() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let (case, hub) = (case(), Hub::new(Manners { stalls: 1.into(), ..Manners::default() }));
        let mut command = program();
        command.current_dir(case.path("")).args(["run", STATE]);
        command.env("HF_ENDPOINT", &hub.address).env("HF_HOME", home(&case));
        let child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let digest = sha256_hex(base_model());
        let part = format!("hub-home/hub/models--someone--small/blobs/{digest}.part");
        let arrived = || fs::metadata(case.path(&part)).map_or(0, |part| part.len());
        wait_until(|| arrived() > 0);
        signal(&child, name);
        let asked = Instant::now();
        let output = child.wait_with_output().expect("it ends");
        assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "fetching hf://someone/small/models/base.pth\n", "{name}");
        assert_eq!(case.runs(), Vec::<PathBuf>::new());
        let arrived = arrived();
        assert!(0 < arrived && arrived < base_model().len() as u64, "{arrived}");
        hub.run(&case, &["run", STATE], None).is_done();
        assert_eq!(hub.asked().last(), Some(&format!("bytes={arrived}-")));
    }
}

#[test]
fn a_part_that_was_complete_when_its_process_died_is_fetched_again() {
    let (case, hub) = (case(), Hub::new(Manners::default()));
    let digest = sha256_hex(base_model());
    let part = format!("hub-home/hub/models--someone--small/blobs/{digest}.part");
    let case = case.having(&part, base_model());
    hub.run(&case, &["run", STATE], None).is_done();
}

#[test]
fn what_arrives_changed_is_removed() {
    let (case, hub) = (case(), Hub::new(Manners { damages: true, ..Manners::default() }));
    let output = hub.run(&case, &["run", STATE], None);
    let (size, digest) = (base_model().len(), sha256_hex(base_model()));
    assert_eq!(
        output.stderr.trim_end(),
        format!(
            "\
fetching hf://someone/small/models/base.pth
error[ST4023]: the download of `hf://someone/small/models/base.pth` does not match the file on the hub
  --> state.toml:10:14
   |
10 | load_model = \"hf://someone/small/models/base.pth\"
   |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = note: on the hub: {size} bytes with sha256 {digest}
   = note: received {size} bytes, which were removed
   = help: run the command again to download the file again"
        )
    );
    assert_eq!(output.code, Some(21));
    assert_eq!(case.runs(), Vec::<PathBuf>::new());
    assert_eq!(
        hub.run(&case, &["run", "--offline", STATE], None).code,
        Some(21),
        "nothing is left"
    );
}

#[test]
fn a_gated_repository_needs_a_token() {
    let (case, hub) =
        (case(), Hub::new(Manners { token: Some("hf_secret"), ..Manners::default() }));
    let output = hub.run(&case, &["run", STATE], None);
    assert_eq!(
        output.stderr.trim_end(),
        "\
fetching hf://someone/small/models/base.pth
error[ST4022]: access to `hf://someone/small/models/base.pth` is restricted (gated or private)
  --> state.toml:10:14
   |
10 | load_model = \"hf://someone/small/models/base.pth\"
   |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: set `HF_TOKEN` to a token of an account with access"
    );
    assert_eq!(output.code, Some(21));
    hub.run(&case, &["run", STATE], Some("hf_secret")).is_done();
    let case = case.having("hub-home/token", "hf_secret\n");
    hub.run(&case, &["run", STATE], None).is_done();
}

#[test]
fn a_file_that_the_hub_does_not_have() {
    let (case, hub) =
        (case().with(STATE, "models/base.pth", "other.pth"), Hub::new(Manners::default()));
    let output = hub.run(&case, &["run", STATE], None);
    assert_eq!(
        output.stderr.trim_end(),
        "\
fetching hf://someone/small/other.pth
error[ST4022]: the hub has no file `hf://someone/small/other.pth`
  --> state.toml:10:14
   |
10 | load_model = \"hf://someone/small/other.pth\"
   |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: check the names of the owner, the repository and the file"
    );
    assert_eq!(output.code, Some(21));
}

#[test]
fn a_check_fetches_nothing_and_offline_refuses() {
    let (case, hub) = (case(), Hub::new(Manners::default()));
    hub.run(&case, &["check", STATE], None).succeeds(
        "state.toml: valid",
        "\
warning[ST4021]: `hf://someone/small/models/base.pth` is not downloaded yet
  --> state.toml:10:14
   |
10 | load_model = \"hf://someone/small/models/base.pth\"
   |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: `check`, `plan` and `watch` do not download; `statetune run` does",
    );
    let output = hub.run(&case, &["run", "--offline", STATE], None);
    assert_eq!(
        output.stderr.trim_end(),
        "\
error[ST4020]: `hf://someone/small/models/base.pth` is not downloaded
  --> state.toml:10:14
   |
10 | load_model = \"hf://someone/small/models/base.pth\"
   |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: remove `--offline` to download it"
    );
    assert_eq!(output.code, Some(21));
    assert_eq!(hub.asked(), Vec::<String>::new(), "the network was left alone");
}

#[test]
fn a_plan_fetches_nothing_and_takes_the_shape_from_the_file() {
    let hub = Hub::new(Manners::default());
    let output = hub.run(&case(), &["plan", STATE], None);
    assert_eq!(
        output.stderr.trim_end(),
        "\
error[ST4020]: `hf://someone/small/models/base.pth` is not downloaded, and its shape is unknown
  --> state.toml:10:14
   |
10 | load_model = \"hf://someone/small/models/base.pth\"
   |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: add a preset with the shape, such as `preset = \"rwkv7-0.1b\"`
   = help: or run `statetune run` to download it"
    );
    assert_eq!(output.code, Some(21));
    let sizes = "base.pth\"\nn_layer = 2\nn_embd = 64\nvocab_size = 4096";
    let case = case().with(STATE, "base.pth\"", sizes);
    let output = hub.run(&case, &["plan", STATE], None);
    let of_file = "= note: its shape is taken from the preset, or from `n_layer` and `n_embd`";
    assert!(output.stderr.contains("warning[ST4021]"), "{}", output.stderr);
    assert!(output.stderr.contains(of_file), "{}", output.stderr);
    let planned = output.is_done().stdout.clone();
    assert!(planned.starts_with("tiny  x070 2 layers x 64, "), "{planned}");
    assert!(planned.contains("\n  memory    "), "{planned}");
    assert_eq!(hub.asked(), Vec::<String>::new(), "the network was left alone");
    // Once it is here, its header counts.
    hub.run(&case, &["run", STATE], None).is_done();
    let asked = hub.asked();
    let output = hub.run(&case, &["plan", STATE], None);
    assert_eq!(output.is_done().stderr, "");
    assert_eq!(hub.asked(), asked);
}

#[test]
fn a_path_of_another_form() {
    Case::new().with(STATE, "base.pth", "hf://someone/small").refuses(
        2,
        "\
error[ST2180]: `hf://someone/small` is not a valid hub path
  --> state.toml:10:14
   |
10 | load_model = \"hf://someone/small\"
   |              ^^^^^^^^^^^^^^^^^^^^
   |
   = help: write `hf://OWNER/REPO/FILE`, or `hf://OWNER/REPO@REVISION/FILE` for a certain revision",
    );
}

#[test]
fn a_hub_that_cannot_be_reached() {
    let case = case();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let home = home(&case);
    let environment = [("HF_ENDPOINT", &*address), ("HF_HOME", home.to_str().expect("UTF-8"))];
    let output = case.statetune_with(&["run", STATE], &environment);
    assert!(
        output
            .stderr
            .contains("error[ST4022]: cannot download `hf://someone/small/models/base.pth`: "),
        "{output:?}"
    );
    assert!(output.stderr.contains("= help: set `HF_ENDPOINT` to use a mirror"), "{output:?}");
    assert_eq!(output.code, Some(21));
}

/// The paths of all files below the folder of the case, but those of the cache and of runs.
fn files_outside(case: &Case) -> Vec<String> {
    let names = case.list("").into_iter();
    names.filter(|name| !["hub-home", "runs"].contains(&name.as_str())).collect()
}

#[test]
fn a_hub_does_not_choose_where_files_are_written() {
    let victim = format!("{:/>64}", "victim");
    for etag in ["../../../../../evil", "/tmp/../evil", &victim, ""] {
        let etag: &'static str = Box::leak(etag.to_owned().into_boxed_str());
        let (case, hub) = (case(), Hub::new(Manners { etag: Some(etag), ..Manners::default() }));
        let before = files_outside(&case);
        hub.run(&case, &["run", STATE], None).is_done();
        assert_eq!(files_outside(&case), before, "{etag}");
        let blobs = case.list("hub-home/hub/models--someone--small/blobs");
        let is_name = |name: &String| {
            let stem = name.trim_end_matches(".part");
            stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        assert!(!blobs.is_empty() && blobs.iter().all(is_name), "{etag}: {blobs:?}");
    }
    for commit in ["../../../../evil", "main", ""] {
        let (case, hub) =
            (case(), Hub::new(Manners { commit: Some(commit), ..Manners::default() }));
        let before = files_outside(&case);
        let output = hub.run(&case, &["run", STATE], None);
        assert!(output.stderr.contains("is not a valid commit\n"), "{output:?}");
        assert_eq!((output.code, files_outside(&case)), (Some(21), before));
    }
}

#[test]
fn a_token_goes_to_its_own_host_alone() {
    let other = Hub::new(Manners::default());
    let redirect = Some(format!("{}{PATH}", other.address));
    let hub = Hub::new(Manners { redirect, ..Manners::default() });
    hub.run(&case(), &["run", STATE], Some("hf_secret")).is_done();
    let tokens = |hub: &Hub| hub.tokens.lock().expect("not poisoned").clone();
    assert!(tokens(&hub).iter().all(|token| token.as_deref() == Some("Bearer hf_secret")));
    assert!(!tokens(&other).is_empty() && tokens(&other).iter().all(Option::is_none));
}

#[test]
fn redirects_that_lead_nowhere_end_in_words() {
    for (to, expected) in [
        ("", "`` is not a valid web address"),
        (PATH, "more than 10 redirects"),
        ("file:///etc/passwd", "`file:///etc/passwd` is not a valid web address"),
    ] {
        let hub = Hub::new(Manners { redirect: Some(to.to_owned()), ..Manners::default() });
        let output = hub.run(&case(), &["run", STATE], None);
        assert!(output.stderr.contains(expected), "{output:?}");
        assert_eq!(output.code, Some(21), "{to}");
    }
}
