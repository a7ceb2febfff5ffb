# The gateway on nginx: what bin/gateway does with what it says, which sources this.
# Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs bash, coreutils, grep, flock
# and nginx with njs.
#
# No braces where none are needed; `set -e` and masked statuses are minded; what is not assigned here is bin/gateway's:
# shellcheck shell=bash disable=SC2034,SC2154,SC2250,SC2310,SC2312

# shellcheck source=/dev/null
source "$tree/lib/gateway.bash"
state_dir=${STACKC_STATE_DIR:-$state_dir} only_tries=
# For which one of several servers gets nothing after it did not answer.
away_seconds=5
# The plan's path is that of the machine; an image has its own.
[[ ${STACKC_CONTAINER:-} != 1 ]] || nginx=nginx
nginx=${STACKC_NGINX:-$nginx}
: "${planned_certificate:=}" "${planned_certificate_key:=}" "${http_port:=}"

usage() {
  cat <<EOF
usage: $me COMMAND

  run                       become the gateway, in the foreground
  reload                    take new keys, weights and files; requests that run are finished as they began
  wait [--once] [--timeout SECONDS]
                            until the gateway answers (default: 30 s); --once: only ask
  check                     whether nginx accepts the configuration; changes nothing
  status [--json]           what runs
  weight SERVICE PERCENT|plan
                            keep the candidate's share of the requests, for the next reload; \`plan\`: as compiled
  probe SERVICE             whether the gateway reaches the server and it is ready
  drain SERVICE             give one of several servers of a model no new request from the next reload on
  undrain SERVICE           give it requests again

Variables: STACKC_NGINX, STACKC_NJS_MODULE, STACKC_GATEWAY_DIR (runtime files), STACKC_STATE_DIR (weights),
STACKC_CLIENT_KEYS_FILE, STACKC_API_KEY_FILE, STACKC_TLS_CERTIFICATE_FILE, STACKC_TLS_KEY_FILE, STACKC_CONTAINER=1 (servers are found by their names), STACKC_RESOLVER (instead of /etc/resolv.conf's name servers).

Exit codes: 0 fine, 2 usage, 3 no answer, 4 something is missing here, 14 port taken, 17 API key file, 19 client keys
or certificate, 20 configuration refused or reload failed: what ran before still runs.
EOF
}

# --- the files beside nginx.conf ---

njs_module() {
  local folder
  if [[ -n ${STACKC_NJS_MODULE:-} ]]; then
    printf '%s' "$STACKC_NJS_MODULE"
    return
  fi
  for folder in /usr/lib/nginx/modules /usr/lib64/nginx/modules /etc/nginx/modules; do
    if [[ -f $folder/ngx_http_js_module.so ]]; then
      printf '%s' "$folder/ngx_http_js_module.so"
      return
    fi
  done
  fail 4 "nginx's JavaScript module is not installed: libnginx-mod-http-js on Debian, nginx-module-njs from nginx.org"
}

# PORT [OPTION]
print_listen() {
  printf 'listen %s:%s%s%s;\n' "$(bracketed "$host")" "$1" "${2:+ $2}" "$([[ $host != :: ]] || printf ' ipv6only=off')"
}

# The hashes of the keys: whoever reads the file has no key, and a lookup takes as long for a near miss as for a far one.
# shellcheck disable=SC2016 # The variables are nginx's.
print_clients() {
  local index hash
  if [[ -z $planned_client_keys ]]; then
    printf 'map $request_method $stackc_client {\n    default anonymous;\n}\n'
    return
  fi
  printf 'map $stackc_key_hash $stackc_client {\n    default "";\n'
  for index in "${!client_keys[@]}"; do
    hash=$(printf '%s' "${client_keys[index]}" | sha256sum)
    printf '    %s "%s";\n' "${hash%% *}" "${client_names[index]}"
  done
  printf '}\n'
}

print_backend() {
  if [[ -z $planned_api_key ]]; then
    printf 'proxy_set_header Authorization "";\n'
    return
  fi
  # A check is ended by whom and when it pleases, and leaves no key in the temporary folder.
  [[ -z $only_tries ]] || backend_key=no-real-key
  printf 'proxy_set_header Authorization "Bearer %s";\n' "$backend_key"
}

# In a container a server is found by its name, anew every few seconds: it may start later than the gateway, and come
# back with another address.
# shellcheck disable=SC2016 # The variables are nginx's.
print_addresses() {
  local index address
  if [[ ${STACKC_CONTAINER:-} == 1 ]]; then print_resolver; fi
  printf 'map $stackc_service $stackc_address {\n    default "";\n'
  for ((index = 0; index < ${#services[@]}; index += 4)); do
    if is_replicated "${services[index]}"; then
      address=replicas-of-${services[index]}
    else
      address=$(address_of "${services[index]}")
    fi
    printf '    "%s" "%s";\n' "${services[index]}" "$address"
  done
  printf '}\n'
}

# Whether several servers answer for a revision.
is_replicated() {
  local index
  for ((index = 0; index < ${#replicas[@]}; index += 3)); do
    [[ ${replicas[index]} != "$1" ]] || return 0
  done
  return 1
}

# HOST:PORT of a server, as the gateway finds it.
address_of() {
  local index host
  for ((index = 0; index < ${#services[@]}; index += 4)); do
    [[ ${services[index]} == "$1" ]] || continue
    host=$(server_host "$index")
    printf '%s:%s' "$(bracketed "$host")" "${services[index + 2]}"
    return
  done
}

server_host() {
  if [[ ${STACKC_CONTAINER:-} == 1 ]]; then
    printf '%s' "${services[$1 + 3]}"
  else
    printf '%s' "${services[$1 + 1]}"
  fi
}

# The servers of each revision that has several: a request goes to the one with the fewest open requests, or to that of
# its session. One that did not answer is left out for a while; the loss of one moves its own sessions alone.
print_upstreams() {
  local index revision='' session
  for ((index = 0; index < ${#replicas[@]}; index += 3)); do
    session=${replicas[index + 2]}
    if [[ ${replicas[index]} != "$revision" ]]; then
      [[ -z $revision ]] || printf '}\n'
      revision=${replicas[index]}
      printf 'upstream replicas-of-%s {\n    zone replicas-of-%s 256k;\n' "$revision" "$revision"
      if [[ -n $session ]]; then printf '    hash $%s consistent;\n' "$session"; else printf '    least_conn;\n'; fi
    fi
    print_server "${replicas[index + 1]}"
  done
  [[ -z $revision ]] || printf '}\n'
}

# In a container a name is looked up as the gateway runs, for which nginx 1.27.3 or later is needed.
print_server() {
  local address options="max_fails=1 fail_timeout=${away_seconds}s"
  address=$(address_of "$1")
  [[ ${STACKC_CONTAINER:-} != 1 || $address =~ ^(\[|[0-9.]+:) ]] || options+=' resolve'
  if is_drained "$1"; then options+=' down'; fi
  printf '    server %s %s;\n' "$address" "$options"
}

# For route.js: the servers that may answer in place of one that has not begun to.
# shellcheck disable=SC2016 # The variables are nginx's.
print_members() {
  local index revision='' separator=''
  printf 'map $stackc_service $stackc_members {\n    default "";\n'
  for ((index = 0; index < ${#replicas[@]}; index += 3)); do
    if [[ ${replicas[index]} != "$revision" ]]; then
      [[ -z $revision ]] || printf '";\n'
      revision=${replicas[index]} separator=''
      printf '    "%s" "' "$revision"
    fi
    if is_drained "${replicas[index + 1]}"; then continue; fi
    printf '%s%s' "$separator" "$(address_of "${replicas[index + 1]}")"
    separator=' '
  done
  [[ -z $revision ]] || printf '";\n'
  printf '}\n'
}

is_drained() {
  [[ -e $state_dir/drained/$1 ]]
}

print_resolver() {
  local word address servers=()
  if [[ -n ${STACKC_RESOLVER:-} ]]; then
    servers=("$STACKC_RESOLVER")
  else
    while read -r word address _; do
      [[ $word != nameserver ]] || servers+=("$(bracketed "${address%%%*}")")
    done </etc/resolv.conf
  fi
  ((${#servers[@]})) || fail 4 "/etc/resolv.conf names no name server: set STACKC_RESOLVER"
  printf 'resolver %s valid=5s;\nresolver_timeout 2s;\n' "${servers[*]}"
}

# The share that an operator has set, as long as both revisions and the plan's own share are those it was set for.
weight_of() {
  local service=$1 planned=$2 fingerprint=$3 key value weight='' found=''
  if [[ -r $state_dir/rollout/$service ]]; then
    while IFS='=' read -r key value; do
      case $key in
        weight) weight=$value ;;
        fingerprint) found=$value ;;
        *) ;;
      esac
    done <"$state_dir/rollout/$service"
  fi
  if [[ $found == "$fingerprint" && $weight =~ ^(100|[1-9]?[0-9])$ ]]; then planned=$weight; fi
  printf '%s' "$planned"
}

print_weights() {
  local index
  for ((index = 0; index < ${#rollouts[@]}; index += 6)); do
    printf '%s %s %s\n' "${rollouts[@]:index:2}" \
      "$(weight_of "${rollouts[index]}" "${rollouts[index + 2]}" "${rollouts[index + 3]}")"
  done
}

# The candidate's part comes first, so that a larger share keeps those who are already there.
# shellcheck disable=SC2016 # The variables are nginx's.
print_splits() {
  local index stable candidate weight
  for ((index = 0; index < ${#rollouts[@]}; index += 6)); do
    stable=${rollouts[index]} candidate=${rollouts[index + 1]}
    weight=$(weight_of "$stable" "${rollouts[index + 2]}" "${rollouts[index + 3]}")
    printf 'split_clients "%s:$%s" $%s {\n' "$stable" "${rollouts[index + 4]}" "${rollouts[index + 5]}"
    ((weight == 0 || weight == 100)) || printf '    %s%% %s;\n' "$weight" "$candidate"
    ((weight < 100)) || stable=$candidate
    printf '    * %s;\n}\n' "$stable"
  done
}

# A key file that the gateway's own user may read counts at every reload; systemd's copy is as old as the unit's start.
read_secrets() {
  local keys=$planned_client_keys backend
  kept_clients='' kept_backend=''
  if [[ -n $keys ]]; then
    if [[ -n ${STACKC_CLIENT_KEYS_FILE:-} || ! -r $keys ]]; then
      keys=$(secret_file STACKC_CLIENT_KEYS_FILE client-keys "$keys")
    fi
    if is_withheld "$keys"; then kept_clients=yes; else hidden read_clients "$keys"; fi
  fi
  if [[ -n $planned_api_key ]]; then
    backend=$(secret_file STACKC_API_KEY_FILE api-key "$planned_api_key")
    if is_withheld "$backend"; then kept_backend=yes; else hidden read_backend_key "$backend"; fi
  fi
}

# Reads the files of the certificate, as secrets are read, or leaves those that are in use.
read_certificate() {
  certificate_file='' certificate_key_file='' kept_certificate=''
  [[ -n $planned_certificate ]] || return 0
  certificate_file=$(newest_file STACKC_TLS_CERTIFICATE_FILE tls-certificate "$planned_certificate")
  certificate_key_file=$(newest_file STACKC_TLS_KEY_FILE tls-key "$planned_certificate_key")
  if is_withheld "$certificate_key_file" || is_withheld "$certificate_file"; then
    kept_certificate=yes
    return
  fi
  need_pem "$certificate_file" CERTIFICATE
  need_pem "$certificate_key_file" 'PRIVATE KEY'
}

# VARIABLE CREDENTIAL PLANNED: a file that the gateway's own user may read is never older than systemd's copy of it.
newest_file() {
  if [[ -z ${!1:-} && -r $3 ]]; then printf '%s' "$3"; else secret_file "$@"; fi
}

# FILE WORDS: nginx's own message does not say which of the two it is.
need_pem() {
  [[ -f $1 && -r $1 ]] || fail 19 "$1: cannot read it"
  grep -q -e "^-----BEGIN .*$2-----" -- "$1" || fail 19 "$1: it holds no $2 in PEM"
  if grep -q -e '^-----BEGIN ENCRYPTED' -e '^Proc-Type: 4,ENCRYPTED' -- "$1"; then
    fail 19 "$1: it has a passphrase, which nobody is there to type"
  fi
}

# FOLDER: copies, so that a file that is half replaced when nginx starts anew does no harm.
install_certificate() {
  [[ -n $planned_certificate ]] || return 0
  local certificate=$certificate_file key=$certificate_key_file
  [[ -z $kept_certificate ]] || certificate=$gateway_dir/conf/certificate.pem key=$gateway_dir/conf/certificate.key
  cat -- "$certificate" >"$1/certificate.pem"
  cat -- "$key" >"$1/certificate.key"
}

# systemd 252 shows the credentials of a unit with a sandbox to its ExecStart alone: a reload keeps what was read then.
is_withheld() {
  [[ -n ${CREDENTIALS_DIRECTORY:-} && $1 == "$CREDENTIALS_DIRECTORY"/* && ! -r $1 && -d $gateway_dir/conf ]]
}

# KEPT FILE FUNCTION FOLDER: the file as it is in use, or made anew.
keep_or_print() {
  if [[ -n $1 ]]; then cp -- "$gateway_dir/conf/$2" "$4/$2"; else hidden "$3" >"$4/$2"; fi
}

# Everything that nginx reads, in a new folder of its own; the running configuration is not touched.
prepare() {
  local folder=$1
  read_secrets
  read_certificate
  rm -rf -- "$folder"
  mkdir -- "$folder"
  cp -- "$tree/gateway/nginx.conf" "$tree/gateway/route.js" "$tree/gateway/stack.js" "$folder/"
  local module
  module=$(njs_module)
  printf 'load_module "%s";\n' "$module" >"$folder/modules.conf"
  print_listen "$port" ${planned_certificate:+ssl} >"$folder/listen.conf"
  [[ -z $http_port ]] || print_listen "$http_port" >"$folder/listen_http.conf"
  install_certificate "$folder"
  keep_or_print "$kept_clients" clients.conf print_clients "$folder"
  keep_or_print "$kept_backend" backend.conf print_backend "$folder"
  forget_keys
  print_addresses >"$folder/addresses.conf"
  {
    print_upstreams
    print_members
  } >"$folder/upstreams.conf"
  print_weights >"$folder/weights"
  print_splits >"$folder/splits.conf"
  # shellcheck disable=SC2016 # The variables are nginx's.
  printf 'map $request_method $stackc_config {\n    default %s;\n}\n' "${folder##*/}" >"$folder/identity.conf"
}

is_accepted() {
  # nginx opens the access log as it tests, and systemd's journal is a socket, which cannot be opened.
  "$nginx" -t -q -e stderr -p "$gateway_dir/" -c "$1/nginx.conf" >/dev/null
}

has_nginx() {
  command -v -- "$nginx" >/dev/null || fail 4 "nginx is not here: $nginx"
}

# Its main process, if it is one of nginx's: a number alone may be another program's by now.
main_pid() {
  local pid='' title=''
  [[ ! -r $gateway_dir/nginx.pid ]] || read -r pid <"$gateway_dir/nginx.pid" || true
  [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
  read -r -d '' title <"/proc/$pid/cmdline" || true
  [[ $title == *nginx* ]] || return 1
  printf '%s' "$pid"
}

# How many workers take requests, and how many only finish those that an earlier configuration began.
count_workers() {
  local file title line parent
  serving=0 draining=0
  for file in /proc/[0-9]*/stat; do
    # A process may end while it is looked at.
    { read -r line <"$file"; } 2>/dev/null || continue
    read -r _ parent _ <<<"${line##*) }"
    [[ $parent == "$1" ]] || continue
    { title=$(tr '\0' ' ' <"${file%stat}cmdline"); } 2>/dev/null || continue
    case $title in
      *"worker process is shutting down"*) draining=$((draining + 1)) ;;
      *"worker process"*) serving=$((serving + 1)) ;;
      *) ;;
    esac
  done
}

# The configuration that answers on the port.
answering_config() {
  local reply
  reply=$(ask "$probe_host" "$port" /health) || return 1
  [[ $reply == *'"config":"'* ]] || return 1
  reply=${reply##*\"config\":\"}
  printf '%s' "${reply%%\"*}"
}

# An old worker may answer once more while the new ones begin: several answers in a row must be the new one's.
is_confirmed() {
  local expected=$1 deadline=$((SECONDS + 15)) in_a_row=0 found
  while ((SECONDS < deadline)); do
    found=$(answering_config) || found=
    if [[ $found == "$expected" ]]; then in_a_row=$((in_a_row + 1)); else in_a_row=0; fi
    ((in_a_row < 5)) || return 0
    sleep 0.1
  done
  return 1
}

command_run() {
  local new
  has_nginx
  take_gateway_dir
  new=$(new_name)
  prepare "$gateway_dir/$new"
  is_accepted "$gateway_dir/$new" || fail 20 "nginx refuses its configuration"
  local taken
  for taken in "$port" ${http_port:+"$http_port"}; do
    if is_port_taken "$taken"; then fail 14 "something else listens on $(bracketed "$host"):$taken already"; fi
  done
  install_conf "$new"
  remove_old_confs
  # Each request takes two descriptors.
  ulimit -Sn "$(ulimit -Hn)" 2>/dev/null || true
  # The access log is opened by its path, which a socket (systemd's journal) does not allow and a pipe does.
  if [[ -S /dev/stdout ]]; then exec > >(exec cat); fi
  exec "$nginx" -e stderr -p "$gateway_dir/" -c "$gateway_dir/conf/nginx.conf" -g 'daemon off;'
}

command_reload() {
  local pid new old
  has_nginx
  pid=$(main_pid) || fail 3 "the gateway does not run in $gateway_dir"
  # Two at a time would confirm each other's configuration.
  exec 9>"$gateway_dir/reload.lock"
  flock -w 60 9 || fail 20 "another reload takes too long"
  old=$(readlink -- "$gateway_dir/conf")
  new=$(new_name)
  prepare "$gateway_dir/$new"
  is_accepted "$gateway_dir/$new" || {
    rm -rf -- "${gateway_dir:?}/$new"
    fail 20 "nginx refuses the new configuration: the old one still runs"
  }
  install_conf "$new"
  kill -HUP "$pid"
  is_confirmed "$new" || {
    install_conf "$old"
    fail 20 "the new configuration does not answer: nginx's log says why"
  }
  remove_old_confs
  printf '%s: reloaded\n' "$me"
}

command_wait() {
  wait_for /health 30 "$@"
}

command_check() {
  local folder
  has_nginx
  folder=$(mktemp -d)
  # shellcheck disable=SC2064 # The folder of now is meant.
  trap "rm -rf -- '$folder'" EXIT
  gateway_dir=$folder only_tries=yes
  prepare "$folder/conf-check"
  is_accepted "$folder/conf-check" || fail 20 "nginx refuses its configuration"
  printf '%s: nginx accepts the configuration\n' "$me"
}

command_status() {
  local pid='' config='' expected='' serving=0 draining=0 running=false code=3 splits=() stable candidate weight
  case $#:${1:-} in
    0: | 1:--json) ;;
    *) fail 2 "unknown option $1: see $me --help" ;;
  esac
  if pid=$(main_pid); then count_workers "$pid"; fi
  config=$(answering_config) || config=
  expected=$(readlink -- "$gateway_dir/conf") || expected=
  if [[ -n $pid && -n $config ]]; then
    code=20
    [[ $config != "$expected" ]] || code=0 running=true
  fi
  if [[ -r $gateway_dir/conf/weights ]]; then
    while read -r stable candidate weight; do
      splits+=("{\"service\": \"$stable\", \"candidate\": \"$candidate\", \"weight\": $weight}")
    done <"$gateway_dir/conf/weights"
  fi
  if [[ ${1:-} == --json ]]; then
    local IFS=,
    printf '{"stack": "%s", "exit_code": %d, "running": %s, "pid": %s, "workers": %d, "draining": %d, "splits": [%s]}\n' \
      "$stack" "$code" "$running" "${pid:-null}" "$serving" "$draining" "${splits[*]}"
  else
    case $code in
      0) printf 'running, process %s, %d workers, %d finishing earlier requests\n' "$pid" "$serving" "$draining" ;;
      3) printf 'not running, or no answer on %s:%s\n' "$probe_host" "$port" ;;
      *) printf 'process %s answers with another configuration than %s holds: reload it\n' "$pid" "$gateway_dir" ;;
    esac
    [[ ! -r $gateway_dir/conf/weights ]] ||
      while read -r stable candidate weight; do
        printf '%s: %d %% of the requests go to %s\n' "$stable" "$weight" "$candidate"
      done <"$gateway_dir/conf/weights"
  fi
  return "$code"
}

command_weight() {
  local service=${1:-} percent=${2:-} index file
  (($# == 2)) || fail 2 "usage: $me weight SERVICE PERCENT|plan"
  [[ $percent == plan || $percent =~ ^(100|[1-9]?[0-9])$ ]] || fail 2 "a share is 0 to 100 percent"
  for ((index = 0; index < ${#rollouts[@]}; index += 6)); do
    [[ ${rollouts[index]} == "$service" ]] || continue
    file=$state_dir/rollout/$service
    if [[ $percent == plan ]]; then
      rm -f -- "$file"
      return
    fi
    # Whoever runs the gateway must be able to read what an administrator writes here.
    umask 022
    # The folder is the servers' user's, and an administrator may be root: no link of theirs is followed.
    [[ ! -L ${file%/*} ]] || fail 4 "${file%/*} is a link: remove it"
    mkdir -p -- "${file%/*}" || fail 4 "cannot create ${file%/*}: set STACKC_STATE_DIR"
    rm -f -- "$file.new.$$"
    (set -C && printf 'weight=%s\nfingerprint=%s\n' "$percent" "${rollouts[index + 3]}" >"$file.new.$$") ||
      fail 4 "cannot write to ${file%/*}"
    mv -f -- "$file.new.$$" "$file"
    return
  done
  fail 2 "service $service has no rollout"
}

command_drain() {
  local service=${1:-} folder=$state_dir/drained
  (($# == 1)) || fail 2 "usage: $me drain SERVICE"
  need_replica "$service"
  umask 022
  # As for shares of a rollout: no link of the servers' user is followed.
  [[ ! -L $folder ]] || fail 4 "$folder is a link: remove it"
  mkdir -p -- "$folder" || fail 4 "cannot create $folder: set STACKC_STATE_DIR"
  rm -f -- "$folder/$service"
  (set -C && : >"$folder/$service") || fail 4 "cannot write to $folder"
  printf '%s: %s gets no request from the next reload on\n' "$me" "$service"
}

command_undrain() {
  (($# == 1)) || fail 2 "usage: $me undrain SERVICE"
  need_replica "$1"
  rm -f -- "$state_dir/drained/$1"
}

# What is no replica has nobody to stand in for it; and one of several must be left.
need_replica() {
  local index revision='' left=0
  for ((index = 0; index < ${#replicas[@]}; index += 3)); do
    [[ ${replicas[index + 1]} != "$1" ]] || revision=${replicas[index]}
  done
  [[ -n $revision ]] || fail 2 "service $1 is not one of several servers of a model"
  for ((index = 0; index < ${#replicas[@]}; index += 3)); do
    [[ ${replicas[index]} == "$revision" && ${replicas[index + 1]} != "$1" ]] || continue
    if ! is_drained "${replicas[index + 1]}"; then left=$((left + 1)); fi
  done
  ((left > 0)) || fail 2 "no other server of $revision would be left"
}

command_probe() {
  local service=${1:-} index address
  (($# == 1)) || fail 2 "usage: $me probe SERVICE"
  for ((index = 0; index < ${#services[@]}; index += 4)); do
    [[ ${services[index]} == "$service" ]] || continue
    address=$(server_host "$index")
    is_ok "$address" "${services[index + 2]}" /health || fail 3 "$service does not answer on $address:${services[index + 2]}"
    return
  done
  fail 2 "no service $service"
}

command=${1:-}
(($# == 0)) || shift
case $command in
  run | check | reload)
    (($# == 0)) || fail 2 "unknown option $1: see $me --help"
    "command_$command"
    ;;
  wait | status | weight | probe | drain | undrain) "command_$command" "$@" ;;
  --help | -h) usage ;;
  *) fail 2 "usage: $me run|reload|wait|check|status|weight|probe|drain|undrain (see $me --help)" ;;
esac
