"""A hash that is stored where a password should be, in whatever is read.

Taken for a password it would let in whoever has seen the hash, and nobody else.
"""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from support import canary

from bridge.programs.hashes import Cost, Scheme, Scram, Scrypt
from bridge.programs.importing import csvfile, ejabberd, prosody
from bridge.programs.importing.entry import Defect, Entry, Found, NotTaken, plain

SECRET = canary.right("alice")
HEX = {size: "0123456789abcdef" * (size // 16) for size in (32, 64, 128)} | {40: hashlib.sha1(b"x").hexdigest()}
BASE64 = {size: base64.b64encode(bytes(range(size))).decode() for size in (20, 32, 64)}

HASHES = {
    "SCRAM": Scram.of(SECRET, Scheme("SHA-1", 10)).text(),
    "scrypt": Scrypt.of(SECRET, Cost(16, 8, 1)).text(),
    "bcrypt": "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "crypt": "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/",
    "crypt's cost": "$5$rounds=5000$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2",
    "MD5 of Sun": "$md5,rounds=904$saltsalt$zJbC5pM0.gNH5J6w8hJDG0",
    "yescrypt": "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
    "argon2": "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g",
    "phpass": "$P$B12345678Mf9ZGTzmH6yB4sNfUoF8d0",
    "phpBB": "$H$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0",
    "Drupal": "$S$DTCxVRLQZ3DVNIGHFY4tYGDgMXXNwYb1rXQ7CDWT5vY8hpxWQjvM",
    "LDAP": "{SSHA}DkMTwBl+a/3DQTxCYEApdUtNXGgdUac3",
    "LDAP of crypt": "{CRYPT}rl0uE4DP3G4vs",
    "LDAP of PBKDF2": "{PBKDF2_SHA256}10000$c2FsdHNhbHQ$aGFzaGhhc2g",
    "Dovecot": "{SHA512-CRYPT}$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2",
    "Dovecot of none": f"{{PLAIN}}{SECRET}",
    "Django": "pbkdf2_sha256$600000$saltsalt$aGFzaGhhc2g=",
    "old Django": "sha1$salt$9b2e6d1d7f3c",
    "older Django": "md5$salt$aGFzaGhhc2g",
    "Werkzeug": "pbkdf2:sha256:260000$salt$aGFzaGhhc2g",
    "PBKDF2 of PHP": "sha256:1000:c2FsdHNhbHQ=:aGFzaGhhc2g=",
    "MySQL": "*6BB4837EB74329105EE4568DDA7DC67ED2CA2AD9",
    "PostgreSQL": "md5" + HEX[32],
    "PostgreSQL's SCRAM": "SCRAM-SHA-256$4096:c2FsdHNhbHQ=$aGFzaGhhc2g=:aGFzaGhhc2g=",
    "SQL Server": "0x0100" + HEX[40],
    "MD5": HEX[32],
    "SHA-1": HEX[40].upper(),
    "SHA-256": HEX[64],
    "SHA-512": HEX[128],
    "Joomla": HEX[32] + ":saltsalt",
    "salt before": "salt$" + HEX[64],
    "ejabberd": "sha256:" + BASE64[32],
    "ejabberd's XML": f"scram:sha256,{BASE64[32]},{BASE64[32]},c2FsdA==,4096",
    "StoredKey": BASE64[20],
    "StoredKey of SHA-256": BASE64[32],
    "StoredKey of SHA-512": BASE64[64],
}


def of_csv(tmp_path: Path, text: str) -> list[Found]:
    path = tmp_path / "users.csv"
    path.write_text(f'user,host,password\nalice,a,"{text}"\nbob,a,x\n')
    return [*csvfile.read(str(path))]


def of_sql(tmp_path: Path, text: str) -> list[Found]:
    path = tmp_path / "users.sql"
    path.write_text(f"INSERT INTO users (username, password) VALUES ('alice', '{text}'), ('bob', 'x');\n")
    return [*ejabberd.read(str(path))]


def of_xml(tmp_path: Path, text: str) -> list[Found]:
    path = tmp_path / "users.xml"
    text = text.replace("scram:", "SCRAM:")  # which is read for what it is
    users = f"<user name='alice' password='{text}'/><user name='bob' password='x'/>"
    path.write_text(f"<server-data xmlns='urn:xmpp:pie:0'><host jid='a'>{users}</host></server-data>")
    return [*ejabberd.read(str(path))]


def of_prosody(tmp_path: Path, text: str) -> list[Found]:
    accounts = tmp_path / "a" / "accounts"
    accounts.mkdir(parents=True)
    for user, password in (("alice", text), ("bob", "x")):
        (accounts / f"{user}.dat").write_text(f'return {{ ["password"] = "{password}"; }};')
    return [*prosody.read(str(tmp_path))]


@pytest.mark.parametrize("reader", [of_csv, of_sql, of_xml, of_prosody])
@pytest.mark.parametrize("kind", [*HASHES])
def test_a_hash_is_never_taken_for_a_password(
    tmp_path: Path, kind: str, reader: Callable[[Path, str], list[Found]]
) -> None:
    canary.knows(tmp_path, "passwords and hashes of them")
    alice, bob = reader(tmp_path, HASHES[kind])
    assert isinstance(alice, NotTaken)
    assert alice.reason == "looks like a hash, not a password"
    assert isinstance(bob, Entry)


@pytest.mark.parametrize(
    "password",
    [
        SECRET,
        "$2y$",
        "$100$ for a good long password",
        "{brackets}",
        "{a}short",
        "sha: what a long password this is",
        "Shakespeare: to be or not to be",
        "md5 is no good hash any more",
        "0123456789abcdef",  # 16 digits: a generated one
        "deadbeef-dead-beef-dead-beefdeadbeef",  # and a UUID
        "abcdefghijklmnopqrstuvwxyz234567",
        base64.b64encode(bytes(16)).decode(),
        "*star*",
    ],
)
def test_passwords_that_do_not_look_like_one(password: str) -> None:
    assert plain(password) == password


def test_one_that_does_is_named_without_it() -> None:
    with pytest.raises(Defect) as caught:
        plain(HEX[32])
    assert HEX[32] not in str(caught.value)


def test_a_hash_as_postgresql_shows_bytes() -> None:
    with pytest.raises(Defect, match="looks like a hash"):
        plain("\\x" + HEX[32])
