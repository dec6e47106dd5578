#!/usr/bin/env bash
# Prints the table of how long a saved agent takes to answer ("Changing agents" in README.md): Rust, Python and JavaScript, in
# `dev` and in `serve`, on an empty cache, with every other change an edit of its source. Needs what `stockade build` needs for
# these languages. Usage: benches/reloads.sh [CHANGES of a large agent] [CHANGES of a small one]
set -euo pipefail
cd "$(dirname "$0")/.."
large=${1:-12} small=${2:-100}
if [ -z "${STOCKADE:-}" ]; then cargo build --quiet --release -p stockade; fi
export STOCKADE=${STOCKADE:-$PWD/target/release/stockade}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Two builds of each agent, of which the second has an edited function.
mkdir -p "$work/tests"
cp -rL tests/guests "$work/tests/guests"
mkdir "$work/plugins" && cp -rL plugins/sdk plugins/Cargo.* "$work/plugins/"
sed -i 's/^members = .*/members = ["sdk"]/' "$work/plugins/Cargo.toml"
cp -rL wit "$work/wit"
for language in python javascript; do cp -rL "examples/agents/$language" "$work/$language"; done
rust=$work/tests/guests/target/wasm32-wasip2/release/guest_fragile.wasm
# Its wrong self-test is mended.
sed -i 's/("repeat: two", "three")/("repeat: two", "two")/' "$work/tests/guests/fragile/src/lib.rs"
build() { "$STOCKADE" build "$work/tests/guests/fragile" "$work/python" "$work/javascript" >/dev/null; }
build
cp "$rust" "$work/rust-1.wasm"
for language in python javascript; do cp "$work/$language/agent.wasm" "$work/$language-1.wasm"; done
sed -i 's/println!("asked for {} bytes", task.query.len());/println!("asked for {} characters", task.query.chars().count());/' \
  "$work/tests/guests/fragile/src/lib.rs"
sed -i 's/^\( *\)return Reply(response=text, data=json.dumps(data), model=None)/\1data["length"] = len(text) * 3\n&/' "$work/python/src/agent.py"
sed -i 's/^\( *\)return { response, data: JSON.stringify(data) };/\1data.length = response.length * 3;\n&/' "$work/javascript/src/agent.js"
build
cp "$rust" "$work/rust-2.wasm"
for language in python javascript; do cp "$work/$language/agent.wasm" "$work/$language-2.wasm"; done

for command in dev serve; do
  for language in rust python javascript; do
    cmp -s "$work/$language-1.wasm" "$work/$language-2.wasm" && { echo "$language: the edit changed nothing" >&2; exit 1; }
    query="What is the range of 10.1.2.3/22?" changes=$large
    if [ $language = rust ]; then query="repeat: one" changes=$small; fi
    benches/reload.py --command $command --component "$work/$language-1.wasm" --second "$work/$language-2.wasm" \
      --query "$query" --clients 0 --changes "$changes" --back 2
  done
done
