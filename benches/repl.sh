#!/usr/bin/env bash
# How long a person at the prompt waits: Enter to the result of a sum (goal < 20 ms), Tab to completions on a live
# lab (goal < 50 ms), each 200 times through a pseudo-terminal.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${RPITR:-}" ] || cargo build --release --quiet
program=$(realpath "${RPITR:-${CARGO_TARGET_DIR:-target}/release/rpitr}")
RPITR=$program cargo test --quiet --test repl answers_come_at_once -- --nocapture | grep ' ms'
