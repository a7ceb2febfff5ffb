# What a job of Slurm does with its servers: sourced by slurm/STACK.sbatch, which has the plan's side of it.
# Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs bash, coreutils and Slurm's srun.
#
# Servers start one after another, each once those before it are ready. When the job is told to end, each finishes what
# it has begun. When one of them has ended for good, all end.
#
# From the job: tree, services, start_seconds, command_N, nodes, gateway and environment.
#
# Braces around every variable would hide the ones that matter; what is not assigned here is the job's:
# shellcheck shell=bash disable=SC2250,SC2154,SC2310,SC2312

say() {
  printf 'job: %s\n' "$1" >&2
}

srun=$(command -v srun) || srun=srun
# As a unit would have them: what the user's own shell exports is not asked.
for assignment in "${environment[@]}"; do
  export "${assignment?}"
done

running=() asked=
# shellcheck disable=SC2329 # The trap calls it.
end_all() {
  asked=yes
  say 'is told to end'
  kill -TERM "${running[@]}" 2>/dev/null || true
}
trap end_all TERM INT

begin() {
  local service=$1
  shift
  if ((${#nodes[@]} == 0)); then
    "$tree/lib/keep" "$tree" "$service" "$@" &
  else
    # A part that fails starts again alone, and waits for the others.
    "$srun" --nodes="${#nodes[@]}" --ntasks="${#nodes[@]}" --ntasks-per-node=1 --kill-on-bad-exit=0 --export=ALL \
      "$tree/lib/keep" --beside "$tree" "$service" "$@" &
  fi
  running+=("$!")
}

cd -- "$tree" || exit 4
for index in "${!services[@]}"; do
  [[ -z $asked ]] || break
  declare -n command="command_$index"
  begin "${services[index]}" "${command[@]}"
  # The last one keeps nobody waiting.
  if ((index + 1 < ${#services[@]} || ${#gateway[@]} > 0)) && ((${#nodes[@]} == 0)); then
    bin/wait-ready "${services[index]}" --timeout "${start_seconds[index]}" --pid "${running[-1]}" ||
      say "${services[index]} is not ready; those after it start all the same"
  fi
done
if ((${#gateway[@]} > 0)) && [[ -z $asked ]]; then
  "$tree/lib/keep" "$tree" '' "${gateway[@]}" &
  running+=("$!")
fi

# A signal ends the wait and not the servers, so it waits until one of them has ended.
status=0
until wait -n "${running[@]}" || status=$?; ((status <= 128)) || [[ -n $asked ]]; do
  status=0
done
[[ -n $asked ]] || say "a server has ended for good with status $status"
kill -TERM "${running[@]}" 2>/dev/null || true
for process in "${running[@]}"; do
  while kill -0 "$process" 2>/dev/null; do
    wait "$process" || true
  done
done
[[ -z $asked ]] || status=0
exit "$status"
