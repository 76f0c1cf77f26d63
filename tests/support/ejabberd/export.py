"""A real ejabberd with accounts of its own, as its administrator exports them; it is gone when they are."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from support.components import command
from support.ejabberd.node import PATIENCE, Ejabberd

HOSTS: dict[str, dict[str, str]] = {
    "plain.example": {"auth_password_format": "plain"},
    "sha1.example": {"auth_password_format": "scram"},
    "sha256.example": {"auth_password_format": "scram", "auth_scram_hash": "sha256"},
    "sha512.example": {"auth_password_format": "scram", "auth_scram_hash": "sha512"},
}

SCRIPT = """
    {ok, _} = application:ensure_all_started(ejabberd),
    {ok, Users} = file:read_file("users"),
    [begin
        [U, H, P] = [binary:decode_hex(Word) || Word <- binary:split(Line, <<" ">>, [global])],
        ok = ejabberd_auth:try_register(U, H, P)
    end || Line <- binary:split(Users, <<"\\n">>, [global])],
    [catch ejd2sql:export(Host, <<"out/", Host/binary, ".sql">>) || Host <- ejabberd_option:hosts()],
    ok = ejabberd_piefxis:export_server(<<"out">>),
    init:stop().
"""
"""export2sql crashes at the table of a module that is not there, when those of users have been written.

Users come in a file, in hexadecimal: arguments could be seen."""


def export(folder: Path, users: Iterable[tuple[str, str, str]]) -> tuple[Path, dict[str, Path]]:
    """What `ejabberdctl export_piefxis` and `export2sql` write.

    Args:
      folder: for all its files; created.
      users: names, hosts (of HOSTS) and passwords.

    Returns:
      the main file of the XML, and each host's file of SQL.
    """
    (folder / "out").mkdir(parents=True)
    file = folder / "ejabberd.yml"
    file.write_text(json.dumps({"hosts": [*HOSTS], "listen": [], "modules": {}, "host_config": HOSTS}))  # YAML, too
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ERL_LIBS": Ejabberd.libraries(),
        "ERL_CRASH_DUMP_BYTES": "0",  # it would hold passwords
        "EJABBERD_CONFIG_PATH": str(file),
        "EJABBERD_LOG_PATH": str(folder / "ejabberd.log"),
    }
    (folder / "users").write_text("\n".join(" ".join(part.encode().hex() for part in user) for user in users))
    done = subprocess.run(
        [command("erl", "ejabberd"), "-noinput", "-mnesia", "dir", json.dumps(f"{folder}/spool"), "-eval", SCRIPT],
        env=env, cwd=folder, capture_output=True, check=False, timeout=PATIENCE, text=True,
    )  # fmt: skip
    files = {path.stem: path for path in (folder / "out").glob("*.sql")}
    main = [path for path in (folder / "out").glob("*.xml") if "_" not in path.name]
    assert len(files) == len(HOSTS), done.stdout[-2000:]
    return main[0], files
