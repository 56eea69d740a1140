use super::*;

/// Words of each command with the line of its first word.
fn read(script: &str) -> Vec<(usize, Vec<String>)> {
    let texts = |words: &[Word]| words.iter().map(|word| word.text.clone()).collect();
    commands(script).commands.iter().map(|words| (words[0].line, texts(words))).collect()
}

/// The words of the only command.
#[track_caller]
fn words(script: &str) -> Vec<String> {
    let read = read(script);
    assert_eq!(read.len(), 1, "{read:?}");
    read[0].1.clone()
}

#[test]
fn lines_are_continued_and_variables_replaced() {
    let script = "#!/bin/bash\nMODEL=base.pth\nexport N=4 M='a b'\n\npython train.py --load_model $MODEL \\\n  --n ${N} --m \"$M\" \\\n  --k ${K:-7} --l ${L-$N}\n";
    let expected = [
        "python",
        "train.py",
        "--load_model",
        "base.pth",
        "--n",
        "4",
        "--m",
        "a b",
        "--k",
        "7",
        "--l",
        "4",
    ];
    assert_eq!(read(script), [(5, expected.map(String::from).to_vec())]);
}

#[test]
fn quotes_keep_json_together() {
    let script = r#"R=4
x '{"r":8,"parts":""}' "{\"r\":$R}" a\ b "c\d" $'e'"#;
    assert_eq!(words(script), ["x", r#"{"r":8,"parts":""}"#, r#"{"r":4}"#, "a b", r"c\d", "e"]);
}

#[test]
fn values_without_quotes_are_split_at_blanks() {
    let script = "A='--n 4  --m'\nB=\"$A 5\"\nEMPTY=\nx $B \"$B\" $EMPTY '' 1$A";
    let expected = ["x", "--n", "4", "--m", "5", "--n 4  --m 5", "", "1--n", "4", "--m"];
    assert_eq!(words(script), expected);
    // JSON stays one value, and a note says so.
    let split = commands("C='{\"r\": 8}'\nx $C");
    assert_eq!(split.commands[0][1].text, "{\"r\": 8}");
    assert!(split.notes[0].starts_with("line 2: JSON with blanks"), "{:?}", split.notes);
}

#[test]
fn arrays() {
    let script =
        "A=(\n  --n 4 # layers\n  --m \"a b\" $1\n)\nA+=(--k 7)\nx \"${A[@]}\" ${A[*]} $A y";
    let all = ["--n", "4", "--m", "a b", "$1", "--k", "7"];
    let expected: Vec<_> = ["x"].iter().chain(&all).chain(&all).chain(&["--n", "y"]).collect();
    assert_eq!(words(script).iter().collect::<Vec<_>>(), expected);
    let unknown = commands(script).commands[0].iter().filter(|word| word.is_unknown).count();
    assert_eq!(unknown, 2);
}

#[test]
fn a_comment_ends_a_command_even_if_its_line_ends_with_a_backslash() {
    let script = "train --a 1 \\\n#--b 2 \\\n--c 3\nnext";
    let (train, rest) = (["train", "--a", "1"], ["--c", "3"]);
    let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    let expected: [(usize, Vec<String>); 3] =
        [(1, owned(&train)), (3, owned(&rest)), (4, owned(&["next"]))];
    assert_eq!(read(script), expected);
    // A backslash before a space quotes the space; the command ends with the line.
    assert_eq!(read("a \\ \nb")[1], (2, vec!["b".to_string()]));
}

#[test]
fn a_backslash_without_a_space_before_it() {
    let glued = commands("x --mask_id $m\\\n--peft bone\\\n  --n 4 --k 1\\\n2");
    let texts: Vec<_> = glued.commands[0].iter().map(|word| word.text.as_str()).collect();
    assert_eq!(texts, ["x", "--mask_id", "$m", "--peft", "bone", "--n", "4", "--k", "12"]);
    assert_eq!(glued.notes.len(), 1, "{:?}", glued.notes);
}

#[test]
fn values_that_need_a_shell_are_unknown() {
    let found = commands("A=$(nproc)\nB=out/$1\nx $A $B $HOME `date` $(echo $(pwd)) $@ $# plain");
    let unknown: Vec<_> =
        found.commands[0].iter().map(|word| (word.text.as_str(), word.is_unknown)).collect();
    let expected = [
        ("x", false),
        ("$(nproc)", true),
        ("out/$1", true),
        ("$HOME", true),
        ("`date`", true),
        ("$(echo $(pwd))", true),
        ("$@", true),
        ("$#", true),
        ("plain", false),
    ];
    assert_eq!(unknown, expected);
}

#[test]
fn arithmetic() {
    let script = "BSZ=16\nx $((40320 / BSZ)) $(( ($BSZ + 4) * ${BSZ} - 7 % 4 )) --n=$((-BSZ)) $((1/0)) $((A+1))";
    let expected = ["x", "2520", "317", "--n=-16", "$((1/0))", "$((A+1))"];
    assert_eq!(words(script), expected);
}

#[test]
fn redirections_are_no_words() {
    let script = "nohup x --a 1 >log.txt 2>&1 < in.txt --b 2 2> err &> all >> more &\ny";
    assert_eq!(read(script)[0].1, ["nohup", "x", "--a", "1", "--b", "2"]);
    assert_eq!(read(script)[1].1, ["y"]);
    assert_eq!(read("x --a 1 2>&1 | tee log")[0].1, ["x", "--a", "1"]);
    assert_eq!(
        read("cat > f <<EOF\nx --a 1\nEOF\ny"),
        [(1, vec!["cat".to_string()]), (4, vec!["y".to_string()])]
    );
}

#[test]
fn branches_that_are_not_taken_are_left_out() {
    let script = "M=pissa\nif [ \"$M\" == \"lora\" ]; then\n  x lora\nelse if [ $M == pissa ]; then\n  x pissa\nelse\n  x other\nfi\nfi\ny";
    let texts = |script: &str| read(script).into_iter().map(|(_, words)| words.join(" ")).collect();
    let all: Vec<String> = texts(script);
    assert_eq!(all, ["x pissa", "y"]);
    let unknown: Vec<String> =
        texts("if [[ $1 == a ]]; then x a; elif [ -z '' ]; then x b; else x c; fi; { y; }");
    assert_eq!(unknown, ["x a", "x b", "x c", "y"]);
    let number: Vec<String> = texts("N=4\nif test $N -gt 8; then\nN=1\nfi\nx $N");
    assert_eq!(number, ["x 4"]);
    let case: Vec<String> = texts("case $1 in\n  a)\n    x a ;;\n  *) x b ;;\nesac\nf() { y; }");
    assert_eq!(case, ["x a", "x b", "y"]);
}

#[test]
fn a_loop_runs_once_with_its_first_value() {
    let found = commands("for lr in 1e-4 1e-5; do\n  x --lr $lr\ndone");
    let texts: Vec<_> = found.commands[0].iter().map(|word| word.text.as_str()).collect();
    assert_eq!(texts, ["x", "--lr", "1e-4"]);
    assert!(found.notes[0].contains("2 values of `lr`"), "{:?}", found.notes);
}

#[test]
fn windows_line_ends_and_separators() {
    assert_eq!(read("a 1 \\\r\n2\r\nb;c && d").len(), 4);
    assert_eq!(read("a 1 \\\r\n2\r\n")[0].1, ["a", "1", "2"]);
    assert_eq!(read(""), []);
}
