"""A web application that knows who is who; run as a script, a server of its own.

    web.py PORT LOG [CERTIFICATE KEY]

Names of users have it answer in other ways: `status-503`; `moved`, to where everybody is let in; `twice`, a no and a
yes behind it; `long`, more than anybody reads; `slow`, byte by byte; `last`, a no and the connection's end.
"""

import base64
import http.server
import os
import ssl
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs

MADE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    accounts: dict[str, str] = {}  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: value for name, [value] in parse_qs(body, strict_parsing=True, keep_blank_values=True).items()}
        assert form["host"] in ("example.com", "localhost"), form.keys()
        if self.path == "/open":
            return self.reply(200)
        if form["command"] == "isuser":
            assert form.keys() == {"command", "user", "host"}
            return self.reply(200 if form["user"] in self.accounts else 404)
        assert form.keys() == {"command", "user", "host", "password"}
        if form["command"] == "setpass":
            self.accounts[form["user"]] = form["password"]
            return self.reply(200)
        return self.odd(form["user"]) or self.judge(form["user"], form["password"])

    def do_GET(self) -> None:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(token).decode().partition(":")
        self.judge(user, password if kind == "Basic" else "")

    def judge(self, user: str, password: str) -> None:
        known = self.accounts.get(user)
        self.reply(404 if known is None else 200 if password == known else 401)

    def odd(self, user: str) -> bool:
        kind, _, more = user.partition("-")
        match kind:
            case "status":
                self.reply(int(more))
            case "moved":
                self.reply(302, Location="/open")
            case "twice":
                self.reply(401)
                self.wfile.write(MADE)
            case "long":
                self.reply(401, b"x" * (1 << 20))
            case "slow":
                for byte in MADE:
                    time.sleep(0.2)
                    self.wfile.write(bytes([byte]))
            case "last":
                self.reply(401)
                self.close_connection = True
            case _:
                return False
        return True

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *words: object) -> None:
        with open(sys.argv[2], "a") as log:
            print(os.getpid(), self.client_address[1], form % words, file=log, flush=True)


def main(port: str, log: str, *files: str) -> None:
    """Serve until killed."""
    accounts = Path(log).with_name("accounts").read_text().splitlines()
    Handler.accounts = dict(line.split(" ", 1) for line in accounts)
    with http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler) as server:
        if files:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*files)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
