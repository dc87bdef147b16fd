#!/usr/bin/env bash
# Three programs in three languages on one segment: a simulation in C++, a consumer in Rust, a monitor in C.
# After four seconds the simulation is killed; the others go on, and a second later a new one takes its place.
# Ends by itself after about ten seconds. Exit code 0: nothing was lost, torn or left behind.
#
#   scripts/demo.sh [SECONDS]        10 by default, at least 7
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1

seconds=${1:-10}
segment="particles-$$"
programs=${CMAKE_BINARY_DIR:-target/cmake}/examples
sim=$programs/particles_sim_cpp
monitor=$programs/particles_monitor_c
consumer=${CARGO_TARGET_DIR:-target}/release/examples/particles_consumer
for program in "$sim" "$monitor" "$consumer"; do
  [[ -x $program ]] || { echo "demo: $program is missing; 'make demo' builds it" >&2; exit 1; }
done
[[ $seconds =~ ^[0-9]+$ ]] && ((seconds >= 7)) || { echo "usage: scripts/demo.sh [SECONDS, at least 7]" >&2; exit 2; }

if [[ -t 1 && -z ${NO_COLOR-} ]]; then
  bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' blue=$'\e[34m' cyan=$'\e[36m' plain=$'\e[0m'
else
  bold='' red='' green='' yellow='' blue='' cyan='' plain=''
fi

pids=() shows=() interrupted=0
on_interrupt() {
  interrupted=$((interrupted + 1))
  ((${#pids[@]})) && kill -TERM "${pids[@]}" 2>/dev/null
}
work=
trap on_interrupt INT TERM
trap 'rm -rf "$work"' EXIT
work=$(mktemp -d)
start=${EPOCHREALTIME/[.,]/}

# show LABEL COLOUR: print the lines of standard input, each with the time and a label.
show() {
  local line ms
  while IFS= read -r line; do
    ms=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
    printf '%3d.%03d  %s%-8s│%s %s\n' $((ms / 1000)) $((ms % 1000)) "$2" "$1" "$plain" "$line"
  done
}

say() { show demo "$bold$blue" <<<"$*"; }

# launch LABEL COLOUR PROGRAM ARGUMENTS…: in the background, its output through show; pid is its process id.
launch() {
  local label=$1 colour=$2 pipe=$work/pipe.${#pids[@]}
  shift 2
  mkfifo "$pipe"
  (trap '' INT TERM; show "$label" "$colour") <"$pipe" & # outlives a signal, for the program's last words
  shows+=($!)
  "$@" >"$pipe" 2>&1 &
  pid=$!
  pids+=("$pid")
}

# finish PID: its exit code, also when a signal ends the waiting.
finish() {
  local code before
  while :; do
    before=$interrupted
    ((interrupted)) && kill -TERM "$1" 2>/dev/null # it may have been too young the first time
    wait "$1" 2>/dev/null
    code=$?
    ((interrupted == before)) && return $code
  done
}

# pause SECONDS, but not when the demo is being ended.
pause() {
  ((interrupted)) && return
  sleep "$1" &
  wait $! || kill $! 2>/dev/null
}

failures=0
expect() { # expect WHAT IS SHOULD; a program that was interrupted early may know no better than to die
  [[ $2 == "$3" ]] || ((interrupted)) && return
  say "$red$1 ended with exit code $2 instead of $3$plain"
  failures=$((failures + 1))
}

say "segment $segment; three programs in three languages start"
launch sim "$cyan" "$sim" "$segment"
first=$pid
launch consumer "$green" "$consumer" "$segment" "$seconds" "$work/summary"
receiver=$pid
launch monitor "$yellow" "$monitor" "$segment"
watcher=$pid

simulation=$first
pause 4
if ((!interrupted)); then
  say "${red}kill -9 $first$plain: the simulation dies, wherever it happens to be"
  kill -KILL "$first"
  finish "$first"
  expect "the killed simulation" $? 137
  simulation=
  pause 1
fi
if ((!interrupted)); then
  say "a new simulation starts and takes over the producer's ends"
  launch sim "$cyan" "$sim" "$segment"
  simulation=$pid
fi

finish "$receiver"
expect "the consumer" $? 0
if [[ $simulation ]]; then
  finish "$simulation"
  expect "the simulation" $? 0
fi
finish "$watcher"
expect "the monitor" $? 0
for show in "${shows[@]}"; do finish "$show"; done

echo
[[ -s $work/summary ]] && cat "$work/summary"
if compgen -G "/dev/shm/*$segment*" >/dev/null; then
  left="${red}NOT CLEAN: $(compgen -G "/dev/shm/*$segment*" | tr '\n' ' ')$plain"
  failures=$((failures + 1))
else
  left="clean"
fi
printf '  %-18s%s\n' "/dev/shm" "$left"

if ((failures)); then
  echo "$bold${red}FAILED$plain"
  exit 1
elif ((interrupted)); then
  echo "${bold}interrupted; everybody has left$plain"
  exit 130
fi
echo "$bold${green}all is well$plain"
