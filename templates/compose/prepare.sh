#!/usr/bin/env bash
# Gives the volumes to the users of the containers, and checks that these can read the secrets.
# Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
#
#   prepare [--own=UID:GID=FOLDER]... [--secret=FILE]...
#
# Runs in a container of its own before all others, as root with the capability to change owners and no other.
# Exit codes: 0 done, 2 usage, 13 a volume cannot be given away, 17 a secret cannot be read by the servers.
set -Eeuo pipefail

fail() {
  printf 'prepare: %s\n' "$2" >&2
  exit "$1"
}

give() {
  local owner=$1 folder=$2
  chown -- "${owner}" "${folder}" || fail 13 "cannot give ${folder} to ${owner}: is the volume read-only, or of a driver that keeps owners?"
}

# The containers run as different users of group 0, the group of root on the host.
check_secret() {
  local file=$1 group mode
  [[ -f ${file} ]] || fail 17 "${file} is no file: create the secret's file on the host before the containers"
  [[ -s ${file} ]] || fail 17 "${file} is empty"
  group=$(stat --format=%g -- "${file}")
  mode=$(stat --format=%a -- "${file}")
  if ((group == 0 ? 8#${mode} & 8#040 : 8#${mode} & 8#004)); then
    return
  fi
  fail 17 "the servers cannot read ${file##*/} (group ${group}, mode ${mode}): on the host, chgrp root and chmod 0640 its file"
}

# Secrets first: a start that must fail anyway changes nothing.
for word in "$@"; do
  case ${word} in
    --secret=?*) check_secret "${word#--secret=}" ;;
    --own=*:*=/*) ;;
    *) fail 2 "usage: prepare [--own=UID:GID=FOLDER]... [--secret=FILE]..." ;;
  esac
done
for word in "$@"; do
  case ${word} in
    --own=*)
      word=${word#--own=}
      give "${word%%=*}" "${word#*=}"
      ;;
    *) ;;
  esac
done
