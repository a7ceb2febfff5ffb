# What a launch script does with what it says: sourced by bin/launch-SERVICE, which has the plan's side of it.
# Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs bash, coreutils and flock.
#
# From the launch script, adapters and draft (the folder of a model that guesses tokens) only where a server has some:
# stack, service, tree, command and model; engine, for people; program_variable and key_variable, by which its program is
# named and gets its key; projector of a server that reads images; for a model of the Hub also
# cache, commit and, where the plan knows only the beginning of the commit, expected; environment, fixed and devices as NAME=VALUE; closed, with which variables
# of other options begin; lock_directory, lock_devices and lock_seconds; key_file, empty where the stack has no key.
#
# Braces around every variable would hide the ones that matter; what is not assigned here is the launch script's:
# shellcheck shell=bash disable=SC2250,SC2154

umask 077

usage() {
  local options=
  ((${#closed[@]} == 0)) ||
    options=" No variable ${closed[0]}…"$'\n'"is taken: it would be an option that nobody planned."
  printf '%s\n' \
    "usage: ${0##*/} [--print-command | --json | --help]" \
    '' \
    'Become the server. Instead of that:' \
    '  --print-command   print the command line, one quoted word per line' \
    '  --json            print command line, environment and locks as JSON; secrets by name only' \
    '' \
    'A variable that is already set wins over the planned one, but for those that keep the server shut and its' \
    "processes on this machine: the plan alone decides them. $program_variable names the executable of $engine," \
    "STACKC_API_KEY_FILE the file of the API key, STACKC_LOCK_DIR the folder of the start locks.$options" \
    '' \
    "Exit codes before the server runs: 2 usage, 4 no library, 15 model not here, 16 no $engine, 17 API key," \
    '18 start lock.'
}

fail() {
  printf '%s: %s\n' "${0##*/}" "$2" >&2
  exit "$1"
}

case "$#:${1-}" in
  0:) mode=run ;;
  1:--print-command) mode=print ;;
  1:--json) mode=json ;;
  1:--help | 1:-h)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

# --- the model ---

check_snapshot() {
  local remedy="run $tree/bin/prefetch $service"
  [[ -r $cache/refs/main || $commit != main ]] || fail 15 "$cache/refs/main does not exist: $remedy"
  [[ $commit == "$expected"* ]] || fail 15 "the cache holds $commit, the plan is for $expected: $remedy"
  [[ -d $model || -f $model ]] || fail 15 "$model does not exist: $remedy"
}

if [[ -n $cache ]]; then
  : "${HF_HOME:-${HOME:?set HF_HOME or HOME}}"
  [[ $mode != run ]] || check_snapshot
elif [[ $mode == run && ! -d $model && ! -f $model ]]; then
  fail 15 "$model does not exist: copy it here; $tree/bin/prefetch $service checks it"
fi
[[ $mode != run || -z ${draft-} || -d $draft ]] ||
  fail 15 "$draft does not exist: $tree/bin/prefetch $service brings or checks it"
[[ $mode != run || " ${command[*]} " != *" --mmproj "* || -f $projector ]] ||
  fail 15 "$projector does not exist: $tree/bin/prefetch $service brings or checks it"

for adapter in "${adapters[@]+"${adapters[@]}"}"; do
  # It stands in JSON on the command line.
  [[ $adapter != *[\"\\]* ]] || fail 15 "$adapter has a quote or a backslash in its path: set HF_HOME to another folder"
  [[ $mode != run || -r $adapter/adapter_config.json ]] ||
    fail 15 "$adapter/adapter_config.json does not exist: $tree/bin/prefetch $service brings or checks it"
done

if [[ $mode == print ]]; then
  printf '%q\n' "${command[@]}"
  exit 0
fi

# --- the environment ---

unset_option() {
  # An image sets where to listen; the command says that too.
  [[ ${STACKC_CONTAINER:-} == 1 && ${!1} == "$listen_host" ]] ||
    printf '%s: %s=%q is not taken: the plan gives every option\n' "${0##*/}" "$1" "${!1}" >&2
  unset -v "$1"
}

names=()
for assignment in "${fixed[@]}"; do
  name=${assignment%%=*} value=${assignment#*=}
  [[ ! -v $name || ${!name} == "$value" ]] ||
    printf '%s: %s=%q is not taken: the plan says %s\n' "${0##*/}" "$name" "${!name}" "$value" >&2
  export "$name=$value"
  names+=("$name")
done
for prefix in "${closed[@]}"; do
  for name in $(compgen -A export -- "$prefix"); do
    [[ " ${names[*]} " == *" $name "* ]] || unset_option "$name"
  done
done
for assignment in "${environment[@]}"; do
  name=${assignment%%=*}
  if [[ -v $name ]]; then export "${name?}"; else export "${assignment?}"; fi
  names+=("$name")
done
# A container sees only the GPUs it was given, numbered from 0.
if [[ ${STACKC_CONTAINER:-} != 1 ]]; then
  for assignment in "${devices[@]}"; do
    export "${assignment?}"
    names+=("${assignment%%=*}")
  done
fi

lock_directory=${STACKC_LOCK_DIR:-$lock_directory}
locks=()
for device in "${lock_devices[@]}"; do
  locks+=("$lock_directory/gpu-$device.lock")
done

# --- the report ---

# Bytes beyond ASCII stay as they are: JSON is UTF-8.
json_string() {
  local text=$1 code hex char
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  for code in {1..31}; do
    printf -v hex '%02x' "$code"
    printf -v char '%b' "\\x$hex"
    text=${text//"$char"/"\\u00$hex"}
  done
  printf '"%s"' "$text"
}

json_list() {
  local separator='' item
  printf '['
  for item in "$@"; do
    printf '%s' "$separator"
    json_string "$item"
    separator=', '
  done
  printf ']'
}

json_environment() {
  local separator='' name
  printf '{'
  for name in "${names[@]}"; do
    printf '%s' "$separator"
    json_string "$name"
    printf ': '
    json_string "${!name}"
    separator=', '
  done
  printf '}'
}

if [[ $mode == json ]]; then
  secrets=()
  [[ -z $key_file ]] || secrets=("$key_variable")
  printf '{\n  "stack": '
  json_string "$stack"
  printf ',\n  "service": '
  json_string "$service"
  printf ',\n  "command": '
  json_list "${command[@]}"
  printf ',\n  "environment": '
  json_environment
  printf ',\n  "secrets": '
  json_list "${secrets[@]}"
  printf ',\n  "locks": '
  json_list "${locks[@]}"
  printf '\n}\n'
  exit 0
fi

# --- the start ---

program=$(command -v -- "${command[0]}") ||
  fail 16 "there is no ${command[0]}: install $engine, or set $program_variable to where it is"
[[ -x $program ]] || fail 16 "$program is no program"

# The key goes through the environment: everyone on the machine can read a command line.
take_key() {
  unset -v "$key_variable"
  read_one_key "$key_file"
  [[ -z $key_problem ]] || fail 17 "$key_file: $key_problem"
  printf -v "$key_variable" '%s' "$key"
  unset -v key
}

if [[ -n $key_file ]]; then
  # shellcheck source=/dev/null
  source "$tree/lib/keys.bash"
  [[ -z ${CREDENTIALS_DIRECTORY:-} ]] || key_file=$CREDENTIALS_DIRECTORY/api-key
  [[ -z ${STACKC_API_KEY_FILE:-} ]] || key_file=$STACKC_API_KEY_FILE
  hidden take_key
  export "${key_variable?}"
else
  # The plan has no API key: one that leaks in from the caller would lock every client out.
  unset -v "$key_variable"
fi

wait_until_ready() {
  local index port=
  ! command -v python3 || exec "$tree/bin/wait-ready" "$service" --pid "$$"
  # An image without Python has curl.
  for index in "${!command[@]}"; do
    [[ ${command[index]} != --port ]] || port=${command[index + 1]}
  done
  while kill -0 "$$" && ! curl --fail --max-time 5 --noproxy '*' "http://127.0.0.1:$port/health"; do
    sleep 0.5
  done
}

# Two servers that size their memory on one GPU at the same time spoil each other's figures, also when
# one of them restarts after a crash. So the GPU's lock is held from here until this server is ready.
# It belongs to the open file, not to the name: whatever ends the holder frees it, and a file that is left says nothing.
hold_locks() {
  local lock_file lock held=()
  [[ -d $lock_directory ]] || mkdir -p -- "$lock_directory" || fail 18 "cannot create $lock_directory: set STACKC_LOCK_DIR"
  for lock_file in "${locks[@]}"; do
    { exec {lock}>>"$lock_file"; } || fail 18 "cannot open $lock_file: set STACKC_LOCK_DIR"
    flock -w "$lock_seconds" "$lock" ||
      fail 18 "another server on the same GPU did not get ready in $lock_seconds s ($lock_file is locked): see its log"
    held+=("$lock")
  done
  # It inherits the locks and lets go of them when it ends. Its parent ends at once, so that init
  # reaps it and the server, which knows nothing of it, keeps no zombie.
  (wait_until_ready </dev/null >/dev/null 2>&1 &)
  for lock in "${held[@]}"; do
    exec {lock}>&-
  done
}
((${#locks[@]} == 0)) || hold_locks

exec "${command[@]}"
