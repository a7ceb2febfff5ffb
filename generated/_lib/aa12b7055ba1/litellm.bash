# The gateway on LiteLLM: what bin/gateway does with what it says, which sources this.
# Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs bash, coreutils and
# LiteLLM's proxy.
#
# No braces where none are needed; `set -e` and masked statuses are minded; what is not assigned here is bin/gateway's:
# shellcheck shell=bash disable=SC2034,SC2154,SC2250,SC2310,SC2312

# shellcheck source=/dev/null
source "$tree/lib/gateway.bash"

# The plan's path is that of the machine; an image has its own.
[[ ${STACKC_CONTAINER:-} != 1 ]] || litellm=litellm
litellm=${STACKC_LITELLM:-$litellm}

usage() {
  cat <<EOF
usage: $me COMMAND

  run                       become the gateway, in the foreground
  wait [--once] [--timeout SECONDS]
                            until the gateway answers (default: 120 s); --once: only ask
  check                     whether LiteLLM and the keys are there; changes nothing
  status [--json]           whether it answers

LiteLLM does not reload: after a change of keys or of the configuration it is started anew.
Variables: STACKC_LITELLM, STACKC_GATEWAY_DIR (runtime files), STACKC_CLIENT_KEYS_FILE, STACKC_API_KEY_FILE,
STACKC_CONTAINER=1 (servers are found by their names).

Exit codes: 0 fine, 2 usage, 3 no answer, 4 something is missing here, 14 port taken, 17 API key file, 19 client keys.
EOF
}

read_keys() {
  forget_keys
  if [[ -n $planned_client_keys ]]; then
    read_clients "$(secret_file STACKC_CLIENT_KEYS_FILE client-keys "$planned_client_keys")"
    ((${#client_keys[@]} == 1)) ||
      fail 19 "LiteLLM takes one key, and the file holds ${#client_keys[@]}: more need a database (or the nginx gateway)"
  fi
  if [[ -n $planned_api_key ]]; then
    read_backend_key "$(secret_file STACKC_API_KEY_FILE api-key "$planned_api_key")"
  fi
}

check_keys() {
  read_keys
  forget_keys
}

export_keys() {
  read_keys
  unset -v LITELLM_MASTER_KEY
  [[ -z $planned_client_keys ]] || export LITELLM_MASTER_KEY=${client_keys[0]}
  # LiteLLM sends some key in any case; servers without one ignore it.
  export STACKC_BACKEND_KEY=${backend_key:-none}
  forget_keys
}

# Everything that LiteLLM needs beside its configuration goes through the environment, which others cannot read.
prepare() {
  export_addresses
  # What leaks in from the caller must not turn on a database, a remote store or a telemetry.
  unset DATABASE_URL REDIS_URL REDIS_HOST LITELLM_SALT_KEY STORE_MODEL_IN_DB CONFIG_FILE_PATH LITELLM_CONFIG_BUCKET_NAME
  export LITELLM_LOCAL_MODEL_COST_MAP=True NO_DOCS=True NO_REDOC=True DISABLE_ADMIN_UI=True LITELLM_MODE=PRODUCTION
  export LITELLM_CORS_ORIGINS=$cors_origins LITELLM_CORS_ALLOW_CREDENTIALS=false
}

# Where each server is, as litellm.yaml refers to it.
export_addresses() {
  local index host
  for ((index = 0; index < ${#services[@]}; index += 4)); do
    host=${services[index]}
    [[ ${STACKC_CONTAINER:-} != 1 ]] || host=${services[index + 2]}
    export "${services[index + 3]}=http://$(bracketed "$host"):${services[index + 1]}/v1"
  done
}

has_litellm() {
  command -v -- "$litellm" >/dev/null || fail 4 "LiteLLM is not here: $litellm"
}

command_run() {
  has_litellm
  hidden check_keys
  prepare
  if is_port_taken; then fail 14 "something else listens on $host:$port already"; fi
  take_gateway_dir
  cd -- "$gateway_dir" || fail 4 "cannot enter $gateway_dir"
  export HOME=$gateway_dir
  # No other program than LiteLLM gets them.
  hidden export_keys
  exec "$litellm" --config "$tree/gateway/litellm.yaml" --host "$host" --port "$port" --num_workers 1
}

command_wait() {
  wait_for /health/liveliness 120 "$@"
}

command_check() {
  has_litellm
  hidden check_keys
  printf '%s: LiteLLM and the keys are there\n' "$me"
}

command_status() {
  local code=3 running=false
  case $#:${1:-} in
    0: | 1:--json) ;;
    *) fail 2 "unknown option $1: see $me --help" ;;
  esac
  if is_ok "$probe_host" "$port" /health/liveliness; then code=0 running=true; fi
  if [[ ${1:-} == --json ]]; then
    printf '{"stack": "%s", "exit_code": %d, "running": %s}\n' "$stack" "$code" "$running"
  else
    printf 'running: %s\n' "$running"
  fi
  return "$code"
}

command=${1:-}
(($# == 0)) || shift
case $command in
  run | check)
    (($# == 0)) || fail 2 "unknown option $1: see $me --help"
    "command_$command"
    ;;
  wait | status) "command_$command" "$@" ;;
  reload) fail 2 "LiteLLM does not reload: start it anew" ;;
  --help | -h) usage ;;
  *) fail 2 "usage: $me run|wait|check|status (see $me --help)" ;;
esac
