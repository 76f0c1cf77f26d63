#!/bin/bash
# A well-behaved ejabberd program in shell; the truth table is that of wire.py.
export LC_ALL=C

exists() { [[ ${1##*-} != no* ]]; }

while read -r high low < <(head -c 2 | od -An -tu1) && [ -n "$low" ]; do
    request=$(head -c $((high * 256 + low)))
    command=${request%%:*} rest=${request#*:}
    user=${rest%%:*} rest=${rest#*:}
    password=${rest#*:} result=0
    case $command in
        auth) exists "$user" && [ "$password" = "pw-$user" ] && result=1 ;;
        isuser | setpass) exists "$user" && result=1 ;;
    esac
    printf "\0\2\0\\$result"
done
