"""Users with their hashes for other programs: as CSV, or in a data directory for Prosody.

What is written is new, complete, and nobody else's to read; nothing is ever overwritten.  Who may rename files where it
is to be, as the owner of `/var/lib/prosody` may, cannot lead root elsewhere.
"""

import contextlib
import csv
import errno
import os
import shutil
from collections.abc import Callable, Generator, Sequence
from functools import partial

from bridge.programs.hashes import Hash, Scram, Scrypt, sound
from bridge.programs.importing.csvfile import COLUMNS
from bridge.programs.importing.progress import Progress
from bridge.programs.importing.prosody import encoded
from bridge.programs.names import Refused

Users = Sequence[tuple[str, str, Hash]]


_NAME_MAX = 255
"""Bytes of a file's name, on all usual file systems."""


def csv_lacks(_user: str, _host: str, one: Hash) -> str:
    """Why a user cannot be written as CSV; empty if nothing is in the way."""
    try:
        sound(one)
    except (TypeError, ValueError):
        return "its hash is broken"
    return ""


def prosody_lacks(user: str, host: str, one: Hash) -> str:
    """Why a user cannot be written for Prosody; empty if nothing is in the way."""
    if isinstance(one, Scrypt):
        return "its hash is of scrypt, which Prosody lacks"
    if one.algorithm == "SHA-512":
        return "its hash is of SHA-512, which Prosody lacks"
    if len(_account_file(user)) > _NAME_MAX or len(encoded(host)) > _NAME_MAX:
        return "its name is too long for a file's"
    return csv_lacks(user, host, one)


def write_csv(path: str, users: Users) -> None:
    """Write a file that `import --from csv` reads.

    Raises:
      Refused: that cannot be done.
    """
    with _new(path, os.unlink, partial(os.link, follow_symlinks=False)) as new:
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(file, "w", encoding="utf-8", newline="") as output:
            writer = csv.writer(output, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows((user, host, one.text()) for user, host, one in users)
            output.flush()
            os.fsync(file)


def write_prosody(path: str, users: Users) -> None:
    """Write a data directory of Prosody's, for mod_auth_internal_hashed.

    Raises:
      Refused: that cannot be done.
    """
    with (
        _new(path, shutil.rmtree, os.rename) as new,
        _own_directory(new) as inside,
        Progress("writing", len(users)) as progress,
    ):
        for user, host, one in users:
            if isinstance(one, Scram):
                folder = encoded(host)
                for directory in (folder, f"{folder}/accounts"):
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(directory, 0o700, dir_fd=inside)
                account = f"{folder}/accounts/{_account_file(user)}"
                with open(os.open(account, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=inside), "w") as file:
                    file.write(_account(one))
            progress.step()


@contextlib.contextmanager
def _own_directory(path: str) -> Generator[int]:
    """A new directory that only we may change, however its own name is used meanwhile.

    Raises:
      OSError: there is no such directory, or not any more.
    """
    os.mkdir(path, 0o700)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _new(path: str, remove: Callable[[str], object], publish: Callable[[str, str], object]) -> Generator[str]:
    """A path beside this one, to write to; it gets its name at the end, or is gone.

    Raises:
      Refused: that cannot be done.
    """
    new = f"{path.rstrip('/')}.{os.urandom(8).hex()}.new"
    try:
        yield new
        publish(new, path)
    except OSError as error:
        raise Refused(f"cannot write {path!r}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):  # it has its name, or somebody has taken it away
            remove(new)


def _account_file(user: str) -> str:
    return f"{encoded(user)}.dat"


def _account(one: Scram) -> str:
    salt = "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\{byte:03d}" for byte in one.salt)
    fields = {
        "iteration_count": str(one.iterations),
        "salt": f'"{salt}"',
        "server_key": f'"{one.server_key.hex()}"',
        "stored_key": f'"{one.stored_key.hex()}"',
    }
    return "return {\n" + "".join(f'\t["{name}"] = {value};\n' for name, value in fields.items()) + "};\n"
