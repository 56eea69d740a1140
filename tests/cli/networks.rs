//! Several devices on a real launcher, over a link that is cut, and killed at any moment. Takes minutes: part of
//! `make test-full`.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::case::{Case, STATE, program};
use crate::devices::{
    children, constant, continues_to_the_bit, ended, equal, is_alive, kill, long_run, text,
};

#[test]
#[ignore = "takes minutes; part of `make test-full`"]
fn devices_that_are_killed_at_twenty_moments_cost_nothing() {
    for moment in 0..20 {
        let case = constant();
        let (child, run) = long_run(&case, 3);
        let others = children(child.id());
        // From the first steps to after the first checkpoint, the first device and the others in turn.
        sleep(Duration::from_millis(moment * 97));
        let victims = [child.id(), others[0], others[1]];
        kill(victims[moment as usize % 3], "-KILL");
        let output = ended(child);
        if moment % 3 != 0 {
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(25), "moment {moment}: {stderr}");
            assert_eq!(stderr.matches("error[").count(), 1, "moment {moment}: {stderr}");
        }
        crate::resume::wait_until(|| !others.iter().any(|&pid| is_alive(pid)));
        continues_to_the_bit(&case, &run, 1 + moment as usize % 4);
    }
}

#[test]
#[ignore = "needs the programs of scripts/export_programs.sh"]
fn torchrun_starts_the_devices_and_starts_them_again() {
    let file = "target/export-programs/bin/torchrun";
    let torchrun = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    assert!(torchrun.exists(), "run scripts/export_programs.sh, which installs torchrun");
    let launch = |case: &Case, more: &[&str]| {
        let mut command = Command::new(&torchrun);
        let place = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"];
        command.args(["--nnodes", "1", "--nproc-per-node", "2", "--max-restarts", "1"]).args(place);
        command.arg("--no-python").arg(program().get_program()).args(["run", STATE]).args(more);
        command.current_dir(case.path("")).env("OMP_NUM_THREADS", "1");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("torchrun starts")
    };
    let case = Case::new();
    let output = ended(launch(&case, &[]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let several = case.only_run();
    case.statetune(&["run", STATE]).is_done();
    let one = case.runs().into_iter().find(|run| *run != several).expect("a second run");
    equal(&case, &one, &several);

    // A device that dies once: torchrun starts all again, and the run continues.
    let case = constant();
    let more = ["--resume", "auto", "--set", "train.epoch_count=60"];
    let more = [&more[..], &["--set", "train.accumulate_grad_batches=2"]].concat();
    let child = launch(&case, &more);
    crate::resume::wait_until(|| !case.runs().is_empty());
    let run = case.only_run();
    let chain = case.path(run.join("chain.bin"));
    crate::resume::wait_until(|| std::fs::metadata(&chain).is_ok_and(|file| file.len() > 99));
    kill(children(child.id())[1], "-KILL");
    let output = ended(child);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(case.only_run(), run);
    assert_eq!(case.json(run.join("status.json"))["status"], "done");
    let verified = case.statetune(&["verify", "latest", "--steps", "6"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// Two machines of one link, each a network namespace: two devices that train, until the link is cut. Prints the exit codes.
const CUT: &str = r#"
set -u
ip link set lo up
unshare -n sleep 600 & other=$!
while [ "$(readlink /proc/$other/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
there() { nsenter -t $other -n "$@"; }
ip link add left type veth peer name right netns $other
ip addr add 10.9.0.1/24 dev left && ip link set left up
there ip link set lo up && there ip addr add 10.9.0.2/24 dev right && there ip link set right up
export MASTER_ADDR=10.9.0.1 MASTER_PORT=29411 WORLD_SIZE=2 LOCAL_WORLD_SIZE=1 LOCAL_RANK=0
RANK=0 "$@" > first.out 2> first.err & first=$!
RANK=1 there "$@" > second.out 2> second.err & second=$!
until [ "$(cat runs/*/chain.bin 2>/dev/null | wc -c)" -gt 99 ]; do sleep 0.1; done
ip link set left down
cut=$(date +%s)
wait $first; code=$?
wait $second
echo $code $? $(( $(date +%s) - cut ))
kill $other
"#;

#[test]
#[ignore = "takes half a minute and needs network namespaces; part of `make test-full`"]
fn a_link_that_is_cut_ends_both_machines() {
    let case = constant();
    let more = ["--set", "train.epoch_count=5000", "--set", "train.accumulate_grad_batches=2"];
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", CUT, "sh"]);
    command.arg(program().get_program()).args(["run", STATE]).args(more);
    let output: Output = command.current_dir(case.path("")).output().expect("unshare is there");
    let said = text(&output.stdout);
    let numbers: Vec<i32> = said.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let &[first, second, secs] = &numbers[..] else {
        panic!("no network namespaces: {}", text(&output.stderr))
    };
    assert_eq!([first, second], [25, 25], "{}{}", case.read("first.err"), case.read("second.err"));
    assert!(case.read("first.err").contains("error[ST5024]: the connection to another device"));
    assert!(case.read("second.err").contains("error[ST5024]: the connection to device 0 is lost"));
    println!("both ended {secs} s after the cut");
    continues_to_the_bit(&case, &case.only_run(), 1);
}
