#!/usr/bin/env bash
# Finds phrases that CONTRIBUTING.md ("Words") rules out, in code, comments, messages and documents.
# Prints FILE:LINE: the line, and the better words; exits with 1 when it finds any.
#
#   scripts/lint_words.sh              all tracked .rs, .md and .toml files except CHANGELOG.md and recorded runs
#   scripts/lint_words.sh FILE...      these files
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -d '' files < <(git ls-files -z '*.rs' '*.md' '*.toml' ':!CHANGELOG.md' ':!tests/data/runs')
fi

found=0
# PATTERN (Perl regular expression, case-sensitive) => the better words.
while IFS= read -r line; do
  pattern=${line%% => *}
  better=${line##* => }
  hits=$(grep -nHP -- "$pattern" "${files[@]}" || true) # fails without a match, and where a file is deleted
  if [ -n "$hits" ]; then
    found=1
    printf '%s\n' "$hits" | sed "s|\$|    <- ${better//|/\\|}|"
  fi
done <<'WORDS'
\b([Ww]hat|[Ww]hich|that|[Ee]verything that|states?|weights?|parameters?) learns?\b(?!.*\bearlier versions\b) => trains; trainable parameters
\bwhat (it|they|the run|a run|was|is) learn(ed|s)\b => the trained state, adapter or weights
\blearned (tokens?|positions?|text)\b => target tokens
\b[Hh]eld-out loss(es)?\b => validation loss
(?<!")\b[Pp]rocessors?\b(?!\\t) => CPU
\b(go|goes|went|gone) on\b => resume; continue
\bto go on\b|\bgoing on (after|from|with)\b => resume; continue
\bis getting on\b|\bgets? on\b => progress
\b(stops?|stopped|runs?|refused?|run|learn|kept) all the same\b => anyway
\b[Nn]obody\b|\b[Ss]omebody\b|\b[Ww]hoever\b => name the person or program: the user, another process
\b[Ss]o many\b => name the number
(?<![Tt]here )(?<!so )\b(is|are) no (?!longer\b|such\b|more than\b|less than\b|need\b)[a-z`] => is not a valid X; X is missing; unknown X
\bare none (either|of)\b|\bis none (either|of|here|there)\b => is not a valid X either
\bno number any ?more\b|(?<!needs )\bno numbers?\b(?! of) => is NaN or infinite
\bany more\b(?! (than|files|of)) => no longer
\b(needed|read|used|is|are) no more\b(?! than) => no longer
\bno hindrance\b => is allowed
\b(nothing|something) is done about\b => training continues
\bhas (a|no) meaning for\b => only applies to
\bonly [^.]{1,30} does without\b|\bdoes without\b => required unless; is optional for
\bdoes not tell (about|of|that)\b => does not report
\btells? (everything|about|of what)\b => lists; describes; reports
\b(is|are|was) there already\b => already exists
\b(is|are) not there\b => does not exist; X is missing
\b[Nn]othing (that )?exists (is|gets) (replaced|overwritten)\b => existing files are not overwritten
\bmust say it\b|\bthe file says nothing\b => required; not set
\bstands? in (the|its|a|their|that)\b|\bstands? at the caret\b => is in; see the note
\blies? (in|beside|under|there)\b => is in; is next to
\bcame? of it\b|\bcomes of it\b => result
\b[Aa] defect of\b => a bug in
\banew\b => again; redraw
\b(mend|mends|mended|mending)\b => fix
\b[Aa] product (of|that|which|is|was|belongs|without)\b|\b[Pp]roduct belongs\b => checkpoint, exported file, adapter or state file
\bpart (company|in which they)\b|\bstep in which they part\b => diverge; the first step that differs
\bwhat is to (be|come|happen|learn|run)\b => name the thing
\bin how many bits\b|\bin fewer bits\b => quantized
\bthe words that the value may be\b => the allowed values
\bputs? (it|them) right\b => fix
\bdefect\b => bug
WORDS
exit "$found"
