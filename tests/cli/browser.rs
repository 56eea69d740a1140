//! A real Chromium without a window, spoken to through its DevTools protocol.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one page.
pub struct Browser {
    process: Child,
    requests: File,
    answers: BufReader<File>,
    session: Option<String>,
    sent: u64,
    /// What happened on the page: events of the protocol.
    pub events: Vec<Value>,
    /// Holds its profile and its pipes.
    _folder: TempDir,
}

/// The browser that `CHROMIUM` names, or `chromium` on the path.
fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("CHROMIUM") {
        return Some(program.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("chromium")).find(|file| file.is_file())
}

impl Browser {
    /// Starts it; `None` when there is no browser.
    pub fn start() -> Option<Browser> {
        let program = program()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [requests, answers] = ["requests", "answers"].map(|name| folder.path().join(name));
        let made = Command::new("mkfifo").args([&requests, &answers]).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo makes pipes");
        // The browser reads from its file 3 and writes to its file 4.
        let process = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<"$REQUESTS" 4>"$ANSWERS""#])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--remote-debugging-pipe", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .env("REQUESTS", &requests)
            .env("ANSWERS", &answers)
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let requests = OpenOptions::new().write(true).open(requests).expect("a pipe");
        let answers = BufReader::new(File::open(answers).expect("a pipe"));
        let (session, events) = (None, Vec::new());
        let mut browser =
            Browser { process, requests, answers, session, sent: 0, events, _folder: folder };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", target);
        browser.session = attached["sessionId"].as_str().map(str::to_string);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Calls a method of the protocol.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.sent += 1;
        let id = self.sent;
        let mut request = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.requests.write_all(format!("{request}\0").as_bytes()).expect("the browser reads");
        loop {
            let answer = self.read();
            if answer["id"] == id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn read(&mut self) -> Value {
        let mut message = Vec::new();
        self.answers.read_until(0, &mut message).expect("the browser writes");
        assert_eq!(message.pop(), Some(0), "the browser has ended");
        serde_json::from_slice(&message).expect("JSON")
    }

    /// Opens a file in a window of this width, and waits until it is loaded.
    pub fn open(&mut self, file: &Path, width: u32) {
        let metrics =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        self.events.clear();
        self.call("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.read();
            self.events.push(event);
        }
    }

    /// The value of an expression on the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", params);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Moves the mouse to a place of the window.
    pub fn move_mouse(&mut self, x: f64, y: f64) {
        self.call("Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": x, "y": y }));
    }

    /// Presses the button at one place of the window and lets it go at another.
    pub fn drag_mouse(&mut self, from: (f64, f64), to: (f64, f64)) {
        let mut send = |kind: &str, (x, y): (f64, f64), clicks: u32| {
            let held = u32::from(kind != "mouseReleased");
            let event = json!({
                "type": kind, "x": x, "y": y, "button": "left", "buttons": held, "clickCount": clicks,
            });
            self.call("Input.dispatchMouseEvent", event);
        };
        send("mousePressed", from, 1);
        send("mouseMoved", to, 0);
        send("mouseReleased", to, 1);
    }

    /// Presses the button twice.
    pub fn double_click(&mut self, x: f64, y: f64) {
        for clicks in [1, 2] {
            for kind in ["mousePressed", "mouseReleased"] {
                let event = json!({
                    "type": kind, "x": x, "y": y, "button": "left", "clickCount": clicks,
                });
                self.call("Input.dispatchMouseEvent", event);
            }
        }
    }

    /// Draws a finger over the window.
    pub fn swipe(&mut self, from: (f64, f64), to: (f64, f64)) {
        let mut touch = |kind: &str, points: Value| {
            self.call("Input.dispatchTouchEvent", json!({ "type": kind, "touchPoints": points }));
        };
        touch("touchStart", json!([{ "x": from.0, "y": from.1 }]));
        for share in [0.25, 0.5, 0.75, 1.0] {
            let at = |one: f64, other: f64| one + (other - one) * share;
            touch("touchMove", json!([{ "x": at(from.0, to.0), "y": at(from.1, to.1) }]));
        }
        touch("touchEnd", json!([]));
    }

    /// The addresses that the page asked for.
    pub fn requested(&self) -> Vec<&str> {
        let of = |event: &'_ Value| event["method"] == "Network.requestWillBeSent";
        let requests = self.events.iter().filter(|event| of(event));
        requests.filter_map(|event| event["params"]["request"]["url"].as_str()).collect()
    }

    /// What the page complained about.
    pub fn complaints(&self) -> Vec<&Value> {
        let kinds = ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"];
        let is_one = |event: &&Value| kinds.iter().any(|kind| event["method"] == *kind);
        self.events.iter().filter(is_one).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
