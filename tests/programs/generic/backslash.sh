#!/bin/bash
# read without -r and IFS: backslashes go, and so do blanks at both ends.
while read line; do
    command=${line%%:*} rest=${line#*:}
    user=${rest%%:*} rest=${rest#*:}
    password=${rest#*:} result=0
    case $command:${user##*-} in
        *:no*) ;;
        auth:*) [ "$password" = "pw-$user" ] && result=1 ;;
        isuser:* | setpass:*) result=1 ;;
    esac
    echo "$result"
done
