"""The example for LDAP, beside slapd: whom it finds, what it binds as, and what an answer means."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.backends import certificate
from support.backends.asked import Asked
from support.backends.servers import BASE, Slapd
from support.canary import CANARY, right
from support.ports import free_ports

from .conftest import at_work, verdicts

pytestmark = pytest.mark.slow

TEMPLATE = f"uid={{user}},ou=people,{BASE}"


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    with at_work(Slapd) as one:
        assert isinstance(one, Slapd)
        yield one


ALICE = ("auth", "alice", right("alice"))


def test_an_entry_without_a_password_lets_nobody_in(slapd: Slapd, tmp_path: Path) -> None:
    questions = [("auth", "dora", word) for word in ("", " ", CANARY)]
    assert verdicts(slapd, tmp_path, *questions) == ["0"] * 3
    assert verdicts(slapd, tmp_path, *questions, DN=TEMPLATE) == ["0"] * 3


def test_what_the_directory_s_policy_forbids_is_a_no(slapd: Slapd, tmp_path: Path) -> None:
    questions = (
        ("auth", "eve", right("eve")),
        ("isuser", "eve"),
        ("setpass", "bob", "abc"),
        ("auth", "bob", right("bob")),
    )
    assert verdicts(slapd, tmp_path, *questions) == ["0", "1", "0", "1"]


def test_two_entries_are_none(slapd: Slapd, tmp_path: Path) -> None:
    """Whoever has one's password would be taken for the other."""
    questions = [("auth", "shared", right("alice")), ("auth", "shared", right("bob")), ("isuser", "shared")]
    assert verdicts(slapd, tmp_path, *questions, FILTER="(mail={user}@{host})") == ["0"] * 3
    assert verdicts(slapd, tmp_path, *questions, FILTER="(|(uid={user})(uid=*))") == ["0"] * 3
    assert verdicts(slapd, tmp_path, ("isuser", "carol"), FILTER="(mail={user}@{host})") == ["1"]


def test_names_are_escaped_in_a_dn(slapd: Slapd, tmp_path: Path) -> None:
    names = (f"alice,ou=people,{BASE}", "alice+uid=alice", "#05616c696365", "alice\\", '"alice"', "<alice>", ";alice")
    found = verdicts(slapd, tmp_path, *[("auth", name, right("alice")) for name in names], ALICE, DN=TEMPLATE)
    assert found == ["0"] * len(names) + ["1"]
    inner = f"uid={{user}},{BASE}"
    assert verdicts(slapd, tmp_path, ("auth", "alice,ou=people", right("alice")), DN=inner) == ["0"]


def test_nobody_is_sent_a_password_by_a_referral(slapd: Slapd, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", slapd.elsewhere)) as elsewhere:
        elsewhere.settimeout(0)
        filters = {"FILTER": "(|(uid={user})(cn={user}))"}
        assert verdicts(slapd, tmp_path, ("auth", "there", right("alice")), ALICE, **filters) == ["0", "1"]
        inner = f"uid={{user}},cn=there,ou=people,{BASE}"
        assert verdicts(slapd, tmp_path, ALICE, DN=inner) in ([""], ["0"])
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.parametrize("result", ["busy", "unavailable", "other", "slow"])
def test_a_directory_in_trouble_says_nothing_about_a_password(slapd: Slapd, tmp_path: Path, result: str) -> None:
    template = f"cn={{user}},ou=trouble,{BASE}"
    assert verdicts(slapd, tmp_path, ("auth", result, CANARY), DN=template) == [""]


def test_what_it_calls_forbidden_is_a_no(slapd: Slapd, tmp_path: Path) -> None:
    template = f"cn={{user}},ou=trouble,{BASE}"
    assert verdicts(slapd, tmp_path, ("auth", "unwilling", CANARY), DN=template) == ["0"]


@pytest.mark.parametrize("text", ["wrong", ""])
def test_the_service_s_own_wrong_password_is_not_the_user_s(slapd: Slapd, tmp_path: Path, text: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text(text)
    assert verdicts(slapd, tmp_path, ALICE, PASSWORD_FILE=str(secret)) == [""]


def test_a_lost_connection_is_opened_anew(slapd: Slapd, tmp_path: Path) -> None:
    with Asked(slapd.edited(tmp_path)) as searching, Asked(slapd.edited(tmp_path / "dn", DN=TEMPLATE)) as binding:
        for _ in range(3):
            for program in (searching, binding):
                assert program.ask(*ALICE).verdict == "1"
                assert program.ask("auth", "alice", CANARY).verdict == "0"
            slapd.stop()
            slapd.start()


def test_a_password_is_changed(slapd: Slapd, tmp_path: Path) -> None:
    new = ("setpass", "bob", CANARY), ("auth", "bob", CANARY), ("auth", "bob", right("bob"))
    back = ("setpass", "bob", right("bob")), ("auth", "bob", right("bob")), ("auth", "bob", CANARY)
    assert verdicts(slapd, tmp_path, *new, *back) == ["1", "1", "0"] * 2
    assert verdicts(slapd, tmp_path, *new, *back, DN=TEMPLATE) == ["1", "1", "0"] * 2
    assert verdicts(slapd, tmp_path, ("setpass", "nobody", CANARY), ("setpass", "*", CANARY), ALICE) == ["0", "0", "1"]
    assert verdicts(slapd, tmp_path, ("setpass", "bob", CANARY), ("auth", "bob", CANARY), BIND_DN="") == ["0", "0"]


def test_only_the_right_server_is_told(slapd: Slapd, tmp_path: Path) -> None:
    other, _ = certificate(tmp_path)
    tls, start_tls = f"ldaps://127.0.0.2:{slapd.tls_port}", f"ldap://127.0.0.2:{slapd.port}"
    for uri in (tls, start_tls):
        assert verdicts(slapd, tmp_path, ALICE, URI=uri) == ["1"]
        assert verdicts(slapd, tmp_path, ALICE, URI=uri, CA=str(other)) == [""]
    assert verdicts(slapd, tmp_path, ALICE, URI=f"ldaps://127.0.0.1:{slapd.tls_port}") == [""]
    log = (slapd.folder / "output").read_text()
    assert "STARTTLS" in log


def test_each_of_several_servers_is_told_over_tls_only(slapd: Slapd, tmp_path: Path) -> None:
    other, _ = certificate(tmp_path)
    (closed,) = free_ports(1)
    clear, tls = f"ldap://127.0.0.2:{slapd.port}", f"ldaps://127.0.0.2:{slapd.tls_port}"
    firsts = (f"ldaps://127.0.0.2:{closed} ", f"ldap://localhost:{closed} ", f"ldap://127.0.0.2:{closed} ")
    for uri in (*(first + clear for first in firsts), f"{firsts[0][:-1]},{clear}", firsts[0] + tls):
        assert verdicts(slapd, tmp_path, ALICE, URI=uri) == ["1"], uri
        assert verdicts(slapd, tmp_path, ALICE, URI=uri, CA=str(other)) == [""], uri


def test_a_name_of_any_length_is_nobodys(slapd: Slapd, tmp_path: Path) -> None:
    questions = [(command, "x" * 20_000, *more) for command, *more in (("auth", CANARY), ("isuser",))]
    assert verdicts(slapd, tmp_path, *questions, ALICE) == ["0", "0", "1"]
    assert verdicts(slapd, tmp_path, *questions, ALICE, DN=TEMPLATE) == ["0", "0", "1"]
