//! Data sets on a hub: a small server on this machine stands for it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use statetune_core::digest::sha256_hex;

use crate::case::{Case, Output, STATE};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TREE: &str = "/api/datasets/someone/chats/tree/main?recursive=true";
const FILES: &str = "/datasets/someone/chats/resolve/main/";

/// The path of a request, and its token.
type Request = (String, Option<String>);

/// A hub with one data set, `hf://datasets/someone/chats`.
struct Hub {
    address: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Hub {
    /// A hub whose data set has these files; `listed` are further paths that its listing names.
    fn new(files: &[(&str, String)], listed: &[&str]) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&asked);
        let files: BTreeMap<String, String> =
            files.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
        let listed: Vec<String> = listed.iter().map(|name| (*name).to_owned()).collect();
        // The thread ends with the process: a test never waits for it.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &files, &listed, &record);
            }
        });
        Hub { address, asked }
    }

    fn run(&self, case: &Case, arguments: &[&str]) -> Output {
        let home = case.path("hub-home");
        let home = home.to_str().expect("UTF-8");
        let environment =
            [("HF_ENDPOINT", &*self.address), ("HF_HOME", home), ("HF_TOKEN", "hf_secret")];
        case.statetune_with(arguments, &environment)
    }

    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("not poisoned");
        asked.iter().map(|(path, _)| path.clone()).collect()
    }
}

/// Answers one request and closes the connection.
fn serve(
    mut stream: TcpStream,
    files: &BTreeMap<String, String>,
    listed: &[String],
    asked: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut range, mut token) = (None, None);
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match &*name.to_lowercase() {
            "range" => range = Some(value.to_owned()),
            "authorization" => token = Some(value.to_owned()),
            _ => {}
        }
    }
    asked.lock().expect("not poisoned").push((path.clone(), token));
    if path == TREE {
        let entry = |path: &String| json!({ "type": "file", "path": path, "size": 1 });
        let folder = json!({ "type": "directory", "path": "data" });
        let entries = files.keys().chain(listed).map(entry).chain([folder]);
        let text = Value::from(entries.collect::<Vec<_>>()).to_string();
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
    }
    let Some(file) = path.strip_prefix(FILES).and_then(|name| files.get(name)) else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    let range = range.unwrap_or_default();
    let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap_or(("0", ""));
    let first: usize = first.parse().unwrap_or(0);
    let last = last.parse().map_or(file.len(), |last: usize| last + 1);
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{}/{}\r\n\
         ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n{}",
        last - first,
        last - 1,
        file.len(),
        sha256_hex(file),
        &file[first..last],
    )
}

fn case(path: &str) -> Case {
    Case::new().with(STATE, "data_file = \"data.jsonl\"", &format!("data_file = \"{path}\""))
}

/// The documents of the case in two files.
fn halves() -> (String, String) {
    let text = Case::new().read("data.jsonl");
    let (first, second) = text.split_at(text.match_indices('\n').nth(9).expect("ten lines").0 + 1);
    (first.to_owned(), second.to_owned())
}

#[test]
fn the_training_files_are_fetched_once_and_named_in_the_lock() {
    let (first, second) = halves();
    let files = [
        ("data/train-00000-of-00002.jsonl", first.clone()),
        ("data/train-00001-of-00002.jsonl", second),
        ("data/validation.jsonl", first),
        ("README.md", "about".to_owned()),
    ];
    let hub = Hub::new(&files, &[]);
    let case = case("hf://datasets/someone/chats");
    let output = hub.run(&case, &["run", STATE]);
    let told: Vec<&str> = output.is_done().stderr.lines().take(2).collect();
    assert_eq!(
        told,
        [
            "fetching hf://datasets/someone/chats",
            "hf://datasets/someone/chats: 1 other file of the data set is not read: data/validation.jsonl",
        ]
    );
    let asked = hub.asked();
    assert!(!asked.iter().any(|path| path.contains("validation.jsonl")), "{asked:?}");
    let run = case.only_run();
    let lock = case.read(run.join("lock.toml"));
    for (name, text) in &files[..2] {
        assert!(lock.contains(&sha256_hex(text)), "{name}: {lock}");
    }
    assert!(case.read(run.join("resolved.toml")).contains("\"hf://datasets/someone/chats\""));
    // The cache is that of other programs, and the network is no longer needed.
    let commit = case.read("hub-home/hub/datasets--someone--chats/refs/main");
    assert_eq!(commit, COMMIT);
    let plan = hub.run(&case, &["plan", "--offline", STATE]);
    assert!(plan.is_done().stdout.contains("16 documents, 4 for validation"), "{plan:?}");
    hub.run(&case, &["data", "check", "--offline", STATE]).is_done_with_warnings();
    assert_eq!(hub.asked(), asked, "nothing is asked for again");
    let asked = hub.asked.lock().expect("not poisoned");
    assert!(asked.iter().all(|(_, token)| token.as_deref() == Some("Bearer hf_secret")));
}

#[test]
fn a_part_is_a_configuration_or_a_file() {
    let (first, second) = halves();
    let files = [("en/train.jsonl", first), ("zh/train.jsonl", second)];
    for (part, expected) in [
        ("/en", "8 documents, 2 for"),
        ("/zh/train.jsonl", "8 documents, 2 for"),
        ("", "16 documents, 4 for"),
    ] {
        let hub = Hub::new(&files, &[]);
        let case = case(&format!("hf://datasets/someone/chats{part}"));
        hub.run(&case, &["data", "prepare", STATE]).is_done_with_warnings();
        let plan = hub.run(&case, &["plan", STATE]);
        assert!(plan.is_done().stdout.contains(expected), "{part}: {plan:?}");
    }
}

#[test]
fn a_listing_does_not_choose_where_files_are_written() {
    let (first, _) = halves();
    let hub = Hub::new(
        &[("train.jsonl", first)],
        &["../../../train.jsonl", "/tmp/train.jsonl", "a/../../train.jsonl", "./train.jsonl"],
    );
    let case = case("hf://datasets/someone/chats");
    let before = case.list("");
    hub.run(&case, &["data", "prepare", STATE]).is_done_with_warnings();
    let asked = hub.asked();
    assert!(!asked.iter().any(|path| path.contains("..")), "{asked:?}");
    let after: Vec<String> =
        case.list("").into_iter().filter(|name| name != "hub-home" && name != "runs").collect();
    assert_eq!(after, before);
}

#[test]
fn what_cannot_be_fetched_is_refused_in_words() {
    let hub = Hub::new(&[("test.jsonl", halves().0)], &[]);
    let refused = |path: &str, arguments: &[&str]| {
        let output = hub.run(&case(path), &[arguments, &[STATE]].concat());
        (output.code, output.stderr.trim_end().to_owned())
    };
    let all = "hf://datasets/someone/chats";
    let place = |path: &str| {
        format!(
            " --> state.toml:5:13\n  |\n5 | data_file = \"{path}\"\n  |             {}\n  |\n",
            "^".repeat(path.len() + 2)
        )
    };
    let nothing = format!(
        "fetching {all}\nerror[ST4022]: `{all}` has no files to train on\n{}  = note: files of the data set: test.jsonl\n  \
         = help: name a folder or a file after the repository: `hf://datasets/OWNER/REPO/PART`",
        place(all)
    );
    assert_eq!(refused(all, &["run"]), (Some(21), nothing));
    let missing = "hf://datasets/someone/nothing";
    let no_dataset = format!(
        "fetching {missing}\nerror[ST4022]: the hub has no data set `{missing}`\n{}  \
         = help: check the names of the owner, the repository and the revision; a private data set needs `HF_TOKEN`",
        place(missing)
    );
    assert_eq!(refused(missing, &["run"]), (Some(21), no_dataset));
    let offline = format!(
        "error[ST4020]: `{all}` is not downloaded\n{}  = help: remove `--offline` to download it",
        place(all)
    );
    assert_eq!(refused(all, &["run", "--offline"]), (Some(21), offline));
    let plan = format!(
        "error[ST4020]: `{all}` is not downloaded\n{}  \
         = help: `statetune run` and `statetune data check` download the data",
        place(all)
    );
    assert_eq!(refused(all, &["plan"]), (Some(21), plan));
    let checked = format!(
        "warning[ST4021]: `{all}` is not downloaded yet\n{}  \
         = help: `statetune run` and `statetune data check` download the data",
        place(all)
    );
    assert_eq!(refused(all, &["check"]), (Some(0), checked));
    let malformed = "hf://datasets/someone";
    let form = format!(
        "error[ST2180]: `{malformed}` is not a valid hub path\n{}  \
         = help: write `hf://datasets/OWNER/REPO`, with `@REVISION` for a certain revision and `/PART` for a configuration, a folder or a file",
        place(malformed)
    );
    assert_eq!(refused(malformed, &["run"]), (Some(2), form));
    // A file that is named is read, whatever its split.
    hub.run(&case(&format!("{all}/test.jsonl")), &["data", "prepare", STATE])
        .is_done_with_warnings();
}
