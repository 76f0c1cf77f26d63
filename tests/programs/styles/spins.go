// Spins at the end of its input: it tries to read again, whatever the error.
package main

import (
	"encoding/binary"
	"io"
	"os"
	"strings"
)

func isUser(user string) bool {
	return !strings.HasPrefix(user[strings.LastIndex(user, "-")+1:], "no")
}

func main() {
	for {
		header := make([]byte, 2)
		if _, err := io.ReadFull(os.Stdin, header); err != nil {
			continue
		}
		data := make([]byte, binary.BigEndian.Uint16(header))
		if _, err := io.ReadFull(os.Stdin, data); err != nil {
			continue
		}
		args := strings.SplitN(string(data), ":", 4)
		var ok bool
		switch args[0] {
		case "auth":
			ok = isUser(args[1]) && args[3] == "pw-"+args[1]
		case "isuser", "setpass":
			ok = isUser(args[1])
		}
		result := uint16(0)
		if ok {
			result = 1
		}
		binary.Write(os.Stdout, binary.BigEndian, [2]uint16{2, result})
	}
}
