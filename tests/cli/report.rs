//! Reports, as a file and in a real browser.

use std::fmt::Write as _;
use std::path::Path;

use crate::browser::Browser;
use crate::case::{Case, STATE};

/// A prompt that would run, were it not escaped, with letters of several scripts.
const PROMPT: &str = r#"User: <script>window.broken = 1</script><img src=x onerror="window.broken = 2"> 你好 🐱\n\nAssistant:"#;

/// A finished run whose texts try to break the page, with its report.
fn reported() -> Case {
    let case = Case::new().with(
        STATE,
        "name = \"tiny\"\n",
        "name = \"tiny\"\ndescription = \"</title><b>\"\ntags = [\"猫\"]\n",
    );
    let prompts = format!("sample.prompts=['''{PROMPT}''']").replace("\\n", "\n");
    let probe = r#"sample.probe=[{ name = "e<i>", regex = "e" }]"#;
    let output = case.statetune(&[
        "run",
        STATE,
        "--set",
        &prompts,
        "--set",
        probe,
        "--set",
        "log.report=true",
    ]);
    output.is_done();
    assert!(
        output.stdout.ends_with("report   runs/DATE-tiny-ID/report.html\n"),
        "{}",
        output.stdout
    );
    case
}

fn html(case: &Case) -> String {
    case.read(case.only_run().join("report.html"))
}

#[test]
fn a_report_stands_alone_and_escapes_everything() {
    let case = reported();
    let html = html(&case);
    for part in [
        "Content-Security-Policy",
        "validation loss",
        "RWKV-7 (x070)",
        "<span class=\"key\">ctx_len</span> = <span class=\"number\">64</span>",
        "<td><code>log.report</code></td><td><code>true</code></td><td>--set</td>",
        "你好 🐱",
        "3 evaluations and 2 checkpoints up to step 4",
        "statetune run --like ",
        "data.jsonl (sha256 ",
        "<strong>Probes</strong>",
        "% of the answers",
        "<th scope=\"row\">peak memory</th><td>",
    ] {
        assert!(html.contains(part), "{part} is missing");
    }
    for part in ["<script>window", "<img", "</title><b>", "e<i>"] {
        assert!(!html.contains(part), "{part} is not escaped");
    }
    // The name of the form of the drawings is the only address, and nothing fetches it.
    let addresses = html.matches("://").count();
    assert_eq!(addresses, html.matches("http://www.w3.org/2000/svg").count());
    let source = regex::Regex::new("<[^>]* src=").expect("an expression");
    assert!(!source.is_match(&html));
}

/// `lock.toml` and the report have the commit of the program, or neither has, for builds outside git.
#[test]
fn the_commit_of_the_program_is_recorded() {
    let case = reported();
    let lock: toml::Table = case.read(case.only_run().join("lock.toml")).parse().expect("TOML");
    let version = case.statetune(&["version"]).stdout;
    let program = match lock.get("commit").and_then(toml::Value::as_str) {
        Some(commit) => {
            assert!(
                commit.len() >= 12 && commit.bytes().all(|b| b.is_ascii_hexdigit()),
                "{commit}"
            );
            format!("{} ({commit})", env!("CARGO_PKG_VERSION"))
        }
        None => env!("CARGO_PKG_VERSION").to_owned(),
    };
    assert!(version.starts_with(&format!("statetune {program}\n")), "{version}");
    let row = format!("<th scope=\"row\">statetune</th><td>{program}</td>");
    assert!(html(&case).contains(&row), "{row} is missing");
}

#[test]
fn what_reports_refuse() {
    let case = Case::new();
    let ask = |arguments: &[&str]| case.statetune(&[&["report"], arguments].concat());
    let output = ask(&["nothing"]);
    assert_eq!(output.stderr.lines().next(), Some("error[ST0201]: no run `nothing` in `runs`"));
    assert_eq!(output.code, Some(2));
    let output = ask(&["a"; 9]);
    assert_eq!(
        output.stderr.trim_end(),
        "error[ST6081]: a report shows at most 8 runs, but 9 were given\n  |\n  = note: more curves could not be told apart by colour"
    );
    assert_eq!(output.code, Some(2));
    case.statetune(&["run", STATE]).is_done();
    let output = ask(&["latest", "--out", "no/such/folder.html"]);
    assert!(
        output.stderr.starts_with("error[ST6082]: cannot write the report `no/such/folder.html`\n  |\n  = note: No such file or directory (os error 2)"),
        "{}",
        output.stderr
    );
    assert_eq!((output.code, output.stdout.as_str()), (Some(29), ""));
    assert_eq!(case.list("no"), Vec::<String>::new());
}

/// A run of a hundred thousand lines with a spike, alone and eight times over each other.
#[test]
fn long_runs_stay_small() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let mut lines = String::new();
    for step in 1..=100_000 {
        let loss = if step == 77_777 { 9.25 } else { 2.0 + f64::from(step % 17) * 1e-3 };
        let noise = f64::from(step * 7919 % 1000) + 0.123_456;
        writeln!(
            lines,
            r#"{{"step":{step},"epoch":0,"loss":{loss},"lr":{},"grad_norm":{noise},"skipped_steps":0,"learned_tokens":{step},"positions_per_s":{noise},"data_wait":0.0}}"#,
            1.0 / f64::from(step)
        )
        .expect("written");
    }
    case.write(run.join("metrics.jsonl"), lines);
    for (arguments, out) in [(&["latest"; 1][..], "one.html"), (&["latest"; 8], "eight.html")] {
        case.statetune(&[&["report", "--out", out], arguments].concat()).is_done();
        let html = case.read(out);
        assert!(html.contains("[77777,9.25]"), "the spike is lost");
        println!("{out}: {} KiB", html.len() >> 10);
        assert!(html.len() < 2_000_000, "{out}: {} bytes", html.len());
    }
}

#[test]
fn a_real_browser_shows_it() {
    let Some(mut browser) = Browser::start() else {
        println!("skipped: no browser; install chromium, or name one in CHROMIUM");
        return;
    };
    let case = reported();
    let file = case.path(case.only_run().join("report.html"));
    browser.open(&file, 1200);
    check_page(&mut browser, &file);

    // Training and validation loss, on both scales.
    let loss = "document.querySelector('.chart')";
    for curve in ["line run-0", "line run-0 validation"] {
        for scale in ["linear", "log"] {
            let points = format!(
                "{loss}.querySelector('.{scale} polyline[class=\"{curve}\"]').points.length"
            );
            assert!(browser.value(&points).as_u64() >= Some(3), "{curve}, {scale}");
        }
    }
    assert_eq!(browser.value("document.querySelectorAll('.chart').length"), 5);
    // The probe, beside the loss: an evaluation before training and one after each mini-epoch.
    let probe = "document.querySelectorAll('.chart')[1]";
    let points = format!("{probe}.querySelector('.linear polyline.run-0').points.length");
    assert_eq!(browser.value(&points), 3);
    assert_eq!(
        browser.value("document.title"),
        case.only_run().file_name().and_then(|name| name.to_str()).expect("a name")
    );
    let question = browser.value("document.querySelector('.question').innerText");
    assert_eq!(question, PROMPT.replace("\\n", "\n"));

    // Values under the pointer.
    let middle = "(() => { const box = document.querySelector('.linear svg').getBoundingClientRect(); \
                  return [box.left + box.width / 2, box.top + box.height / 2]; })()";
    browser.value("document.querySelector('.chart').scrollIntoView()");
    let middle = browser.value(middle);
    let [x, y] = [0, 1].map(|i| middle[i].as_f64().expect("a number"));
    browser.move_mouse(x, y);
    let tip = browser.value("document.querySelector('.tip').innerText");
    let tip = tip.as_str().expect("a text");
    assert!(
        tip.starts_with("step 2") && tip.contains("training ") && tip.contains("validation "),
        "{tip}"
    );

    check_zoom(&mut browser, Browser::drag_mouse);

    // The other scale, and a curve that is hidden.
    browser.value(&format!("{loss}.querySelector('.scale').click()"));
    let display =
        |class: &str| format!("getComputedStyle({loss}.querySelector('.{class}')).display");
    assert_eq!(browser.value(&display("linear")), "none");
    assert_eq!(browser.value(&display("log")), "block");
    browser.value(&format!("{loss}.querySelector('[data-line=\"1\"]').click()"));
    assert_eq!(browser.value(&display("log .validation")), "none");
    assert_ne!(browser.value(&display("log .line.run-0")), "none");
    assert_eq!(browser.complaints(), Vec::<&serde_json::Value>::new());

    // On a phone.
    browser.open(&file, 390);
    check_page(&mut browser, &file);
    browser.value("document.querySelector('.chart').scrollIntoView()");
    browser.call("Emulation.setTouchEmulationEnabled", serde_json::json!({ "enabled": true }));
    check_zoom(&mut browser, Browser::swipe);
    check_page(&mut browser, &file);

    // Two runs over each other.
    let two = case.path("two.html");
    case.statetune(&["report", "latest", "latest", "--out", "two.html"]).is_done();
    browser.open(&two, 390);
    check_page(&mut browser, &two);
    let curves =
        format!("{loss}.querySelectorAll('.linear polyline[class^=\"line run-\"]').length");
    assert_eq!(browser.value(&curves), 4);
}

/// Dragging over the second half of the first chart zooms into it; `all steps` zooms out.
#[track_caller]
fn check_zoom(browser: &mut Browser, drag: fn(&mut Browser, (f64, f64), (f64, f64))) {
    // Steps 2 to 4 of 4: where they begin and end, halfway up.
    let places = "(() => { const svg = document.querySelector('.linear svg'); \
                  const box = svg.getBoundingClientRect(), one = box.width / svg.viewBox.baseVal.width; \
                  const [left, right] = \
                  JSON.parse(document.querySelector('.chart').dataset.chart).frames[0].x_pixels; \
                  return [box.left + one * (left + right) / 2 - 1, box.left + one * (right - 1), \
                  box.top + box.height / 2]; })()";
    let places = browser.value(places);
    let [middle, right, y] = [0, 1, 2].map(|i| places[i].as_f64().expect("a number"));
    // Where the points of the training loss are drawn, from the left edge, as shares of the width; and the numbers.
    let drawn = "(() => { const svg = document.querySelector('.linear svg'); \
                 const [left, right] = \
                 JSON.parse(document.querySelector('.chart').dataset.chart).frames[0].x_pixels; \
                 const points = svg.querySelector('polyline[class=\"line run-0\"]').points; \
                 const numbers = [...svg.querySelectorAll('text')].filter((text) => \
                 text.getAttribute('text-anchor') === 'middle' && getComputedStyle(text).display !== 'none'); \
                 return [[...points].map(({ x }) => Math.round(8 * (x - left) / (right - left)) / 8), \
                 numbers.map((text) => text.textContent.trim())]; })()";
    let all = serde_json::json!([[0.25, 0.5, 0.75, 1], ["0", "1", "2", "3", "4"]]);
    let hidden = "document.querySelector('.chart .all').hidden";
    assert_eq!((browser.value(drawn), browser.value(hidden)), (all.clone(), true.into()));
    drag(browser, (middle, y), (right, y));
    let half = serde_json::json!([[-0.5, 0, 0.5, 1], ["2", "3"]]);
    assert_eq!((browser.value(drawn), browser.value(hidden)), (half.clone(), false.into()));
    assert_eq!(browser.value("document.querySelectorAll('.marked').length"), 0);
    // What is read off is what is drawn: the middle is the third step now.
    browser.move_mouse(middle, y);
    let tip = browser.value("document.querySelector('.tip').innerText");
    assert!(tip.as_str().is_some_and(|tip| tip.starts_with("step 3\n")), "{tip}");
    browser.double_click(middle, y);
    assert_eq!((browser.value(drawn), browser.value(hidden)), (all.clone(), true.into()));
    drag(browser, (middle, y), (right, y));
    assert_eq!(browser.value(drawn), half);
    browser.value("document.querySelector('.chart .all').click()");
    assert_eq!((browser.value(drawn), browser.value(hidden)), (all, true.into()));
}

/// The page is whole, asked for nothing but itself, and does not scroll sideways.
#[track_caller]
fn check_page(browser: &mut Browser, file: &Path) {
    let widths = browser.value("[document.documentElement.scrollWidth, window.innerWidth]");
    assert!(widths[0].as_f64() <= widths[1].as_f64(), "it scrolls sideways: {widths}");
    assert_eq!(browser.value("typeof window.broken"), "undefined");
    assert_eq!(browser.complaints(), Vec::<&serde_json::Value>::new());
    let others = browser.requested().into_iter().filter(|address| !address.starts_with("data:"));
    assert_eq!(others.collect::<Vec<_>>(), [format!("file://{}", file.display())]);
}

/// The commands of a report put a run beside the others; so do the settings of a run as an experiment file.
#[test]
fn a_repeated_run_lies_beside_the_first() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run().to_string_lossy().into_owned();
    case.statetune(&["report", "latest"]).is_done();
    let html = case.read(format!("{run}/report.html"));
    assert!(html.contains(&format!("statetune run --like {run}   ")), "{html}");
    case.statetune(&["run", "--like", &run]).is_done();
    case.statetune(&["run", &format!("{run}/resolved.toml")]).is_done();
    assert_eq!((case.runs().len(), case.list(format!("{run}/runs")).len()), (3, 0));
}
