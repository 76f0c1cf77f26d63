#!/bin/sh
# Answers one question, and is done.
IFS= read -r line
command=${line%%:*} rest=${line#*:}
user=${rest%%:*} rest=${rest#*:}
password=${rest#*:} result=0
case $command:${user##*-} in
    *:no*) ;;
    auth:*) [ "$password" = "pw-$user" ] && result=1 ;;
    isuser:* | setpass:*) result=1 ;;
esac
echo "$result"
