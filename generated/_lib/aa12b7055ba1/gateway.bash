# What both gateways do: keys, their own folder, and the question whether they answer. Sourced by nginx.bash and
# litellm.bash.
# Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs bash and coreutils.
#
# No braces where none are needed; `set -e` and masked statuses are minded; what is not assigned here is bin/gateway's:
# shellcheck shell=bash disable=SC2034,SC2154,SC2250,SC2310,SC2312

umask 077
export LC_ALL=C
me=${0##*/}
gateway_dir=${STACKC_GATEWAY_DIR:-$gateway_dir}
# A container listens on every interface of its own network; what the host publishes is compose's decision.
[[ ${STACKC_CONTAINER:-} != 1 ]] || host=0.0.0.0
# Where a client on this machine finds it.
case $host in
  0.0.0.0) probe_host=127.0.0.1 ;;
  ::) probe_host=::1 ;;
  *) probe_host=$host ;;
esac

fail() {
  printf '%s: %s\n' "$me" "$2" >&2
  exit "$1"
}

bracketed() {
  if [[ $1 == *:* ]]; then printf '[%s]' "$1"; else printf '%s' "$1"; fi
}

# HTTP without a client program, which nginx's image need not have: HOST PORT PATH → the answer, headers and all.
ask() {
  # shellcheck disable=SC2016 # The inner shell puts in its own arguments.
  timeout 5 "$BASH" -c '
    exec 3<>"/dev/tcp/$1/$2" || exit 1
    printf "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n" "$3" >&3
    exec cat <&3' ask "$@" 2>/dev/null
}

is_ok() {
  local status
  status=$(ask "$@") || return 1
  [[ $status == "HTTP/1."[01]" 200 "* ]]
}

is_port_taken() {
  # shellcheck disable=SC2016 # The inner shell puts in its own arguments.
  timeout 5 "$BASH" -c 'exec 3<>"/dev/tcp/$1/$2"' ask "$probe_host" "${1:-$port}" 2>/dev/null
}

# Where a secret lies: as the caller says, else as systemd hands it over, else as planned.
secret_file() {
  local variable=$1 credential=$2 planned=$3
  if [[ -n ${!variable:-} ]]; then
    printf '%s' "${!variable}"
  elif [[ -n ${CREDENTIALS_DIRECTORY:-} ]]; then
    printf '%s/%s' "$CREDENTIALS_DIRECTORY" "$credential"
  else
    printf '%s' "$planned"
  fi
}

# shellcheck source=/dev/null
source "$tree/lib/keys.bash"

# Reads the file of client keys, a `NAME:KEY` or `KEY` on each line, into client_names and client_keys.
read_clients() {
  local file=$1 number=0 line name owner_name
  local -A owner=()
  client_names=() client_keys=()
  read_key_lines "$file"
  [[ -z $key_problem ]] || fail 19 "$file: $key_problem"
  for line in "${key_lines[@]}"; do
    number=$((number + 1))
    [[ ! $line =~ ^[[:space:]]*(#.*)?$ ]] || continue
    # Bash takes minutes to look for a colon in a line of 200 KB.
    ((${#line} <= 320)) || fail 19 "$file: line $number: a line that is no key: $key_rule"
    name=client-$number
    [[ $line != *:* ]] || name=${line%%:*}
    [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$ ]] ||
      fail 19 "$file: line $number: a client's name is 1 to 63 letters, digits, dots, dashes and underscores"
    line=${line#*:}
    [[ $line =~ $key_pattern ]] || fail 19 "$file: line $number: a line that is no key: $key_rule"
    owner_name=${owner[$line]:-}
    [[ -z $owner_name ]] || fail 19 "$file: line $number: the same key as that of $owner_name"
    owner[$line]=$name
    client_names+=("$name") client_keys+=("$line")
  done
  key_lines=()
  ((${#client_keys[@]})) || fail 19 "$file: it holds no key: nobody could use the gateway"
}

# Reads the servers' key into backend_key.
read_backend_key() {
  unset -v backend_key
  read_one_key "$1"
  [[ -z $key_problem ]] || fail 17 "$1: $key_problem"
  backend_key=$key
  unset -v key
}

forget_keys() {
  unset -v client_keys backend_key
}

take_gateway_dir() {
  [[ $gateway_dir == /* ]] || fail 2 "STACKC_GATEWAY_DIR must be an absolute path"
  mkdir -p -- "$gateway_dir" 2>/dev/null || fail 4 "cannot create $gateway_dir: set STACKC_GATEWAY_DIR"
  [[ -w $gateway_dir ]] || fail 4 "cannot write to $gateway_dir: set STACKC_GATEWAY_DIR"
  # For root nginx has workers of another user, who must reach their folders in it; nobody may list it.
  if ((EUID == 0)); then chmod 711 -- "$gateway_dir"; else chmod 700 -- "$gateway_dir"; fi
}

# A folder that no configuration ever had: process numbers come again, in a container soon.
new_name() {
  local id
  read -r id </proc/sys/kernel/random/uuid
  printf 'conf-%s' "$id"
}

# Once the link points there, it is what the next start or reload reads.
install_conf() {
  ln -sfn -- "$1" "$gateway_dir/conf.new"
  mv -fT -- "$gateway_dir/conf.new" "$gateway_dir/conf"
}

remove_old_confs() {
  local folder current
  current=$(readlink -- "$gateway_dir/conf")
  for folder in "$gateway_dir"/conf-*; do
    # Only what new_name has made: neither a link nor a folder of another name.
    [[ ${folder##*/} =~ ^conf-[0-9a-f-]{36}$ && -d $folder && ! -L $folder ]] || continue
    [[ $folder == "$gateway_dir/$current" ]] || rm -rf -- "$folder"
  done
}

# Whether a process ended, reaped or not.
is_gone() {
  local line=''
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
  [[ ${line##*) } == [ZX]* ]]
}

# PATH SECONDS OPTION… : until the path answers, the process is gone, or time is up.
wait_for() {
  local path=$1 seconds=$2 once='' pid=${MAINPID:-} deadline
  shift 2
  # A stop of the unit ends this too, and would be a failure if it were killed.
  [[ ${SYSTEMD_EXEC_PID:-} != "$$" ]] || trap 'exit 0' TERM
  while (($#)); do
    case $1 in
      --once) once=yes ;;
      --timeout)
        [[ ${2:-} =~ ^[0-9]{1,6}$ ]] || fail 2 "--timeout takes seconds"
        seconds=$2
        shift
        ;;
      *) fail 2 "unknown option $1: see $me --help" ;;
    esac
    shift
  done
  deadline=$((SECONDS + seconds))
  until is_ok "$probe_host" "$port" "$path"; do
    [[ -z $once ]] || fail 3 "no answer on $probe_host:$port"
    if [[ -n $pid ]] && is_gone "$pid"; then fail 4 "process $pid is gone: its own output says why"; fi
    ((SECONDS < deadline)) || fail 3 "no answer on $probe_host:$port after $seconds s"
    sleep 0.2
  done
}
