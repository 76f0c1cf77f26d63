"""Accounts of a real Prosody come along with their passwords, and go back to it."""

import functools
import os
import shutil
from pathlib import Path

import pytest
import trio
from support import canary
from support.programs import bundled
from support.prosody.server import Prosody
from support.prosody.xmpp_client import Client

PROSODIES = ["here", "13"]

HOSTS = {
    "plain.example": {"authentication": "internal_plain"},
    "sha-1.example": {"authentication": "internal_hashed"},
    "sha-256.example": {"authentication": "internal_hashed", "password_hash": "SHA-256"},
}
USERS = ["zoë", r"o\27h_a-r.a"]
EVERYBODY = [(user, host) for host in HOSTS for user in USERS]


def password(user: str) -> str:
    return f"{canary.right(user)} <ü\"'\\"


@pytest.mark.slow
async def test_there_and_back(prosody: Prosody, tmp_path: Path) -> None:
    for host in HOSTS:
        canary.knows(accounts(prosody, host), "Prosody stores them")
    for host, options in HOSTS.items():
        lines = [f'VirtualHost "{host}"', *(f'  {option} = "{value}"' for option, value in options.items())]
        prosody.configure_host(host, "\n".join(lines) + "\n")
        assert prosody.shell(f'host:activate("{host}")') == "Result: true"
    for user, host in EVERYBODY:
        typed = f"{password(user)}\n" * 2
        await trio.to_thread.run_sync(functools.partial(prosody.ctl, "adduser", f"{user}@{host}", typed=typed))
    assert await logins(prosody) == [True] * len(EVERYBODY)

    database = tmp_path / "users.db"
    status, out, err = bundled.command(database, "import", "--from", "prosody", "--disabled", prosody.data)
    assert (status, err) == (0, "")
    assert out.split()[:2] == ["taken", str(len(EVERYBODY))]
    copy = tmp_path / "copy.db"
    shutil.copyfile(database, copy)
    right = [(user, host, password(user)) for user, host in EVERYBODY]
    wrong = [(user, host, password(user)[:-1]) for user, host in EVERYBODY]
    assert bundled.logins(copy, wrong) == [False] * len(wrong)
    assert bundled.logins(copy, right) == [True] * len(right)
    assert bundled.logins(copy, right) == [True] * len(right), "now scrypt's"

    status, _, err = bundled.command(database, "export", "--to", "prosody", tmp_path / "back")
    assert status == 1
    assert err.count("\n") == len(USERS), "those whose password was not hashed"
    for host in HOSTS:
        shutil.rmtree(accounts(prosody, host))
    assert await logins(prosody) == [False] * len(EVERYBODY)
    shutil.copytree(tmp_path / "back", prosody.data, dirs_exist_ok=True)
    owner = prosody.data.stat()
    for path in prosody.data.rglob("*"):
        os.chown(path, owner.st_uid, owner.st_gid)
    assert await logins(prosody) == [host != "plain.example" for _, host in EVERYBODY]


def accounts(prosody: Prosody, host: str) -> Path:
    return prosody.data / host.replace("-", "%2d").replace(".", "%2e") / "accounts"


async def logins(prosody: Prosody) -> list[bool]:
    """Who gets in at Prosody itself with the right password; nobody with a wrong one."""
    found: list[bool] = []
    for user, host in EVERYBODY:
        async with Client.connected(prosody.port, host) as client:
            assert await client.plain(user, password(user) + "x") == "not-authorized"
            found.append(await client.plain(user, password(user)) == "success")
    return found
