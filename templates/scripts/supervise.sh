#!/usr/bin/env bash
# Runs a server or the gateway, and bounds its end. Written by `stackc compile`.
# DO NOT EDIT: change the spec and compile again. Needs bash, grep and coreutils.
#
# vLLM waits for every connection that a client keeps open, also when its engine has ended: one client that sends half
# a request, reads nothing or never hangs up would turn each stop into a kill by systemd or Docker, and a failure.
#
# Braces around every variable would hide the ones that matter; `set -e` is minded:
# shellcheck disable=SC2250,SC2310,SC2312
set -Eeuo pipefail
export LC_ALL=C

me=${0##*/}
# Before it listens a server has no request to finish.
loading_seconds=10
# What helps a process ends by itself once that is gone.
helpers_tenths=20

usage() {
  printf '%s\n' \
    "usage: $me --name NAME --port PORT --seconds SECONDS [--signal NAME] -- PROGRAM [ARGUMENT]..." \
    '' \
    'Run the program, and pass on how it ends. At SIGTERM, SIGINT, SIGQUIT or SIGHUP:' \
    '  - it gets SIGTERM, or the --signal that it takes for "finish what you have begun";' \
    '  - what is still open after so many SECONDS is cut off; no process is left;' \
    '  - the exit code is 0, and the log says how many connections were cut.' \
    'A second SIGINT cuts at once.' \
    '' \
    'Exit codes: 0 ended when it was asked to, 2 usage, else that of the program, 128 + N if signal N ended it.'
}

refuse() {
  printf '%s: %s\n' "$me" "$1" >&2
  usage >&2
  exit 2
}

is_number() {
  [[ $1 =~ ^[0-9]{1,6}$ ]]
}

name='' port='' seconds='' signal=TERM
while (($#)); do
  case $1 in
    --name | --port | --seconds | --signal)
      (($# > 1)) || refuse "$1 needs a value"
      printf -v "${1#--}" '%s' "$2"
      shift 2
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    --)
      shift
      break
      ;;
    *) refuse "unknown option $1" ;;
  esac
done
[[ -n $name ]] || refuse '--name is missing'
is_number "$port" || refuse '--port is a number'
is_number "$seconds" || refuse '--seconds is a number'
[[ $signal =~ ^[A-Z]+[0-9]*$ ]] || refuse '--signal is a name such as TERM'
(($# > 0)) || refuse 'no program'

say() {
  printf '%s: %s: %s\n' "$me" "$name" "$1" >&2 || true
}

# How many sockets of the port are in a state: 01 is connected, 0A listens; `?` where the kernel does not tell.
sockets() {
  local pattern
  [[ -r /proc/net/tcp ]] || {
    printf '?'
    return
  }
  printf -v pattern '^ *[0-9]+: [0-9A-F]+:%04X [0-9A-F]+:[0-9A-F]+ %s ' "$port" "$1"
  { cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || true; } | { grep -cE "$pattern" || (($? == 1)); }
}

is_running() {
  kill -0 "$child" 2>/dev/null
}

asked='' is_hurried=''
# shellcheck disable=SC2329 # The traps call it.
ask() {
  if [[ $1 == INT && -n $asked ]]; then is_hurried=yes; fi
  asked=${asked:-SIG$1}
}
# A signal that the caller ignores, as a shell lets its children in the background do with SIGINT, stays ignored.
for each in TERM INT QUIT HUP; do
  # shellcheck disable=SC2064 # The signal of now is meant.
  trap "ask $each" "$each"
done

# With job control the program leads a process group of its own, so that all it starts is found; and it does not
# begin with the signals ignored that a shell ignores for its children.
set -m
"$@" </dev/null &
child=$!
set +m

# Bash tells of a job that a signal has ended, with the line of this script; the status says it better.
wait_for_child() {
  { wait "$child"; } 2>/dev/null
}

stop() {
  local limit=$seconds deadline reason
  if [[ $(sockets 0A) == 0 ]]; then limit=$((loading_seconds < seconds ? loading_seconds : seconds)); fi
  say "$asked: $(sockets 01) open connections, $limit s to finish"
  deadline=$((SECONDS + limit))
  # The signal goes to the program alone: vLLM ends its engine and its workers itself.
  kill -s "$signal" "$child" 2>/dev/null || true
  while is_running; do
    if ((SECONDS >= deadline)) || [[ -n $is_hurried ]]; then
      reason="not ended after $limit s"
      [[ -z $is_hurried ]] || reason='a second SIGINT'
      say "$reason: $(sockets 01) open connections are cut off"
      # Only itself at first: what cleans up after it shall do so.
      kill -s KILL "$child" 2>/dev/null || true
      break
    fi
    sleep 0.2 || true
  done
}

# Engines and workers hold the GPU's memory as long as they live.
sweep() {
  local tenths
  for ((tenths = 0; tenths < helpers_tenths; tenths++)); do
    kill -0 -- "-$child" 2>/dev/null || return 0
    sleep 0.1 || true
  done
  say 'processes of it outlive it: killed'
  kill -s KILL -- "-$child" 2>/dev/null || true
}

status=0
[[ -n $asked ]] || wait_for_child || status=$?
if [[ -z $asked ]]; then
  sweep
  exit "$status"
fi
stop
# The signal has ended the wait; what the program ended with is told now.
status=0
wait_for_child || status=$?
sweep
say "ended with status $status"
