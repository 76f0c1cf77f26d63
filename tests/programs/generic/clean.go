// A program for Prosody in Go; the truth table is that of wire.py.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

func exists(user string) bool {
	return !strings.HasPrefix(user[strings.LastIndex(user, "-")+1:], "no")
}

func answer(line string) bool {
	fields := strings.SplitN(line, ":", 4)
	if len(fields) < 3 {
		return false
	}
	switch fields[0] {
	case "auth":
		return len(fields) == 4 && exists(fields[1]) && fields[3] == "pw-"+fields[1]
	case "isuser", "setpass":
		return exists(fields[1])
	}
	return false
}

func main() {
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if answer(strings.TrimSuffix(line, "\n")) {
			fmt.Println(1)
		} else {
			fmt.Println(0)
		}
	}
}
