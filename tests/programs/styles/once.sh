#!/bin/sh
# Answers one question, and is done.
length=$(dd bs=1 count=2 2>/dev/null | od -An -tu1 | { read -r high low && echo $((high * 256 + low)); })
data=$(dd bs=1 count="$length" 2>/dev/null)

command=${data%%:*} rest=${data#*:}
user=${rest%%:*} rest=${rest#*:}
password=${rest#*:}

result=0
case $command:${user##*-} in
    *:no*) ;;
    auth:*) [ "$password" = "pw-$user" ] && result=1 ;;
    isuser:* | setpass:*) result=1 ;;
esac
printf '\000\002\000'"\\00$result"
