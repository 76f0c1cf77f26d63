#!/bin/bash
# A program for Prosody in shell; the truth table is that of wire.py.
exists() { [[ ${1##*-} != no* ]]; }

while IFS= read -r line; do
    command=${line%%:*} rest=${line#*:}
    user=${rest%%:*} rest=${rest#*:}
    password=${rest#*:} result=0
    case $command in
        auth) exists "$user" && [ "$password" = "pw-$user" ] && result=1 ;;
        isuser | setpass) exists "$user" && result=1 ;;
    esac
    echo "$result"
done
