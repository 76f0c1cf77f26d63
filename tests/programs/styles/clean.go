// A well-behaved ejabberd program in Go; the truth table is that of wire.py.
package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"log"
	"os"
	"strings"
)

func exists(user string) bool {
	return !strings.HasPrefix(user[strings.LastIndex(user, "-")+1:], "no")
}

func answer(request string) bool {
	fields := strings.SplitN(request, ":", 4)
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

func serve(in io.Reader, out io.Writer) error {
	for {
		var length uint16
		if err := binary.Read(in, binary.BigEndian, &length); err != nil {
			return err
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		reply := []byte{0, 2, 0, 0}
		if answer(string(body)) {
			reply[3] = 1
		}
		if _, err := out.Write(reply); err != nil {
			return err
		}
	}
}

func main() {
	if err := serve(bufio.NewReader(os.Stdin), os.Stdout); err != io.EOF {
		log.Fatal(err)
	}
}
