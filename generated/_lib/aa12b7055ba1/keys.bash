# Reads keys for the launch scripts and the gateway, which source it.
# Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
#
# One rule for all programs; stack/keys.py says the same in Python, and the tree's README to people.
#
# Braces around every variable would hide the ones that matter; what is read here is used by whoever sources it:
# shellcheck shell=bash disable=SC2034,SC2250

key_bytes=1048576
key_pattern='^[A-Za-z0-9._~+/=-]{8,256}$'
key_rule="a key is 8 to 256 letters, digits and ._~+/=-, as \`openssl rand -hex 32\` makes it"

# WORDS… : runs a function that handles keys. Of those a trace shows nothing from here on, not even by PS4; no child
# inherits them unless they are exported by name, and no core dump holds them.
hidden() {
  local -
  { set +ax; } 2>/dev/null
  PS4='+ '
  ulimit -c 0
  "$@"
}

# Reads a file of keys into key_lines, or says in key_problem why it is none.
read_key_lines() {
  local file=$1 text='' is_cut='' LC_ALL=C
  key_lines=() key_problem=
  if [[ ! -e $file ]]; then
    key_problem='cannot read it: No such file or directory'
  elif [[ ! -f $file ]]; then
    key_problem='it is no regular file'
  elif [[ ! -r $file ]]; then
    key_problem='cannot read it: Permission denied'
  else
    # Up to a NUL byte, or one byte more than there may be.
    if IFS= read -r -d '' -n "$((key_bytes + 1))" text <"$file"; then is_cut=yes; fi
    case $text in
      $'\xef\xbb\xbf'* | $'\xff\xfe'* | $'\xfe\xff'*)
        key_problem='it begins with a byte order mark: save it as plain ASCII, without one' ;;
      *)
        if ((${#text} > key_bytes)); then
          key_problem="it is longer than $key_bytes bytes"
        elif [[ -n $is_cut ]]; then
          key_problem='it holds a NUL byte'
        elif [[ -z $text ]]; then
          key_problem='it is empty: it holds no key'
        else
          # Not from the text: a here-document of that size would lie in a file.
          mapfile -t key_lines <"$file"
          key_lines=("${key_lines[@]%$'\r'}")
        fi
        ;;
    esac
  fi
}

# Reads the one key of a file into key, or says in key_problem why there is none.
read_one_key() {
  local LC_ALL=C
  unset -v key
  read_key_lines "$1"
  if [[ -n $key_problem ]]; then
    key=''
  elif ((${#key_lines[@]} > 1)); then
    key_problem="it has ${#key_lines[@]} lines, and must hold one key on one line"
  elif [[ ! ${key_lines[0]} =~ $key_pattern ]]; then
    key_problem="line 1: a line that is no key: $key_rule"
  else
    key=${key_lines[0]}
  fi
  key_lines=()
}
