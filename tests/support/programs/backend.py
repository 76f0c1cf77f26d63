"""A back end for programs of styles/: whoever connects sends a user's name, and gets the password, or an empty line."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.programs import oracle


@contextmanager
def backend(path: Path, patience: int = 0) -> Iterator[None]:
    """One that listens at `path`, and closes each connection after so many questions (0: never)."""

    class Connection(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for number, line in enumerate(self.rfile, 1):
                user = line.rstrip(b"\n")
                exists = oracle.truth(b"isuser:" + user + b":h")
                self.wfile.write(b"pw-" * exists + user * exists + b"\n")
                if number == patience:
                    return

    with socketserver.ThreadingUnixStreamServer(str(path), Connection) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            path.unlink()
