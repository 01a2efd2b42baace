#!/usr/bin/env bash
# Chaos with several seeds: what each run came to, and whether anything was left.
#
# usage: benches/chaos_seeds.sh [COUNT] [RUNTIME] [FIRST SEED] [ARGUMENTS OF rpitr chaos ...]
#   COUNT    how many seeds (10)
#   RUNTIME  local or docker (local)
#
# RPITR is the program (target/release/rpitr). Each run has a state folder of its own, so that what it leaves is seen.
# Ends with 1 unless every run was proved and left nothing.
set -u

count=${1:-10} runtime=${2:-local} first=${3:-1}
shift $(($# < 3 ? $# : 3))
program=$(realpath "${RPITR:-target/release/rpitr}")
work=$(mktemp -d "${TMPDIR:-/tmp}/chaos-seeds.XXXXXX")
# Servers run under an account of their own and must be able to pass.
chmod 755 "$work"
failed=0

# The numbers of a verdict, as a line of the table.
cat >"$work/row.lua" <<'LUA'
local verdict = json.decode(fs.read(arg[1]))
local run, exact = verdict.run, 0
for _, one in ipairs(verdict.restores) do
  exact = exact + (#one.problems == 0 and 1 or 0)
end
print(("%-8s %12d %8d %7d %7d %7d %14s %7d"):format(verdict.verdict, run.acknowledged, run.indeterminate, run.faults,
  run.faults - run.faults_not_healed, run.epochs, ("%d of %d"):format(exact, #verdict.restores), verdict.targets.count))
LUA

# What a run has left: labs on record, processes, containers and volumes of its state folder.
leftovers() {
    local state=$1 labs processes=0 containers=0
    labs=$(find "$state/registry" -name '*.json' 2>/dev/null | wc -l)
    for folder in /proc/[0-9]*; do
        case $(readlink "$folder/cwd" 2>/dev/null) in "$state"*) processes=$((processes + 1)) ;; esac
    done
    if [ "$runtime" = docker ]; then
        containers=$(docker ps -aq --filter "label=rpitr.state=$state" | wc -l)
        containers=$((containers + $(docker volume ls -q --filter "label=rpitr.state=$state" | wc -l)))
    fi
    echo $((labs + processes + containers))
}

printf '%6s %-8s %12s %8s %7s %7s %7s %14s %7s %9s %8s\n' \
    seed verdict acknowledged unknown faults healed epochs 'exact targets' judged leftovers seconds
for seed in $(seq "$first" $((first + count - 1))); do
    state=$work/$seed bundle=$work/bundle-$seed began=$SECONDS
    mkdir -m 755 "$state"
    RPITR_STATE=$state "$program" --runtime "$runtime" chaos --quick --seed "$seed" --bundle "$bundle" "$@" \
        >"$work/$seed.log" 2>&1
    code=$?
    left=$(leftovers "$state")
    row="no verdict, exit code $code"
    if [ -f "$bundle/verdict.json" ]; then
        row=$(RPITR_STATE=$state "$program" "$work/row.lua" "$bundle/verdict.json")
    fi
    printf '%6s %s %9s %8s\n' "$seed" "$row" "$left" $((SECONDS - began))
    if [ "$code" -ne 0 ] || [ "$left" -ne 0 ]; then
        failed=1
        echo "       kept: $work/$seed.log $bundle"
        RPITR_STATE=$state "$program" lab gc --all >/dev/null 2>&1
    else
        rm -rf "$state" "$bundle"
    fi
done
[ "$failed" -ne 0 ] || rm -rf "$work"
exit "$failed"
