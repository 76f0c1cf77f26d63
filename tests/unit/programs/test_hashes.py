"""Hashes of passwords: the standards' own examples, texts that are read again, and as much work for everybody."""

import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.programs import hashes
from bridge.programs.hashes import ALGORITHMS, COST, Cost, Hash, Kind, Scheme, Scram, Scrypt, parse, verify

CHEAP = Cost(n=2**4, r=8, p=1)
OLD = Cost(n=2**3, r=8, p=1)
SCHEMES = [Scheme(name, 3) for name in ALGORITHMS]
SECRET, WRONG = "hunter2:länd ", "hunter3"

binary = st.binary(max_size=40)
scrypts = st.builds(
    Scrypt,
    st.builds(Cost, st.sampled_from([2, 16, 2**14]), st.integers(1, 8), st.integers(1, 16)),
    binary,
    st.binary(min_size=32, max_size=32),
)
scrams = st.sampled_from([*ALGORITHMS.items()]).flatmap(
    lambda item: st.builds(
        Scram, st.just(item[0]), st.integers(1, 100_000), binary, *[st.binary(min_size=item[1], max_size=item[1])] * 2
    )
)


@pytest.mark.parametrize(
    ("algorithm", "salt", "nonces", "proof", "signature"),
    [
        (
            "SHA-1",  # RFC 5802, section 5
            "QSXCR+Q6sek8bf92",
            ("fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j"),
            "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (
            "SHA-256",  # RFC 7677, section 3
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            ("rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"),
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ],
)
def test_the_logins_that_the_standards_show(
    algorithm: str, salt: str, nonces: tuple[str, str], proof: str, signature: str
) -> None:
    """What is stored for `pencil` accepts the client's proof and makes the server's signature."""
    stored = Scram.of("pencil", Scheme(algorithm, 4096), base64.b64decode(salt))
    client, both = nonces[0], "".join(nonces)
    said = f"n=user,r={client},r={both},s={salt},i=4096,c=biws,r={both}".encode()
    name = algorithm.replace("-", "")
    mask = hmac.digest(stored.stored_key, said, name)
    client_key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), mask, strict=True))
    assert hashlib.new(name, client_key).digest() == stored.stored_key
    assert hmac.digest(stored.server_key, said, name) == base64.b64decode(signature)
    assert stored.matches("pencil")
    assert not stored.matches("pencil ")


def test_the_hash_that_scrypts_standard_shows() -> None:
    """RFC 7914, section 12; ours is the first half."""
    digest = "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
    assert Scrypt.of("password", Cost(1024, 8, 16), b"NaCl").digest.hex() == digest


def test_what_others_have_written() -> None:
    """PostgreSQL's form, which is RFC 5803's; and passlib's, with ours in it."""
    text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    text += "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    assert parse(text) == Scram.of("pencil", Scheme("SHA-256", 4096), base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    assert Scrypt(COST, b"sixteen bytes...", bytes(32)).text() == (
        "$scrypt$ln=14,r=8,p=5$c2l4dGVlbiBieXRlcy4uLg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    )


@given(scrypts | scrams)
def test_a_text_is_read_again(stored: Hash) -> None:
    assert parse(stored.text()) == stored


@given(scrypts | scrams, st.data())
def test_a_damaged_text_is_no_other_users_trouble(stored: Hash, data: st.DataObject) -> None:
    """It is read as some other hash, or refused in words that do not hold it."""
    text = stored.text()
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    try:
        found = parse(damaged)
    except ValueError as error:
        assert str(error) in REASONS
        assert error.__suppress_context__ or error.__context__ is None
    else:
        assert hashes.sound(found) == found


REASONS = {
    "no hash that can be read",
    "an unknown algorithm or an impossible cost",
    "a key of the wrong length",
    "a hash that takes too long to check",
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$scrypt$",
        "{SSHA}abc",
        "SCRAM-MD5$4096:AAAA$AAAA:AAAA",
        f"SCRAM-SHA-1$0:AAAA${'A' * 27}=:{'A' * 27}=",
        f"SCRAM-SHA-1$-1:AAAA${'A' * 27}=:{'A' * 27}=",
        f"SCRAM-SHA-1$4096:AAAA$:{'A' * 27}=",
        f"SCRAM-SHA-1$9999999999:AAAA${'A' * 27}=:{'A' * 27}=",
        f"SCRAM-SHA-1$٤:AAAA${'A' * 27}=:{'A' * 27}=",
        f"$scrypt$ln=40,r=8,p=5$AAAA${'A' * 43}",
        f"$scrypt$ln=0,r=8,p=5$AAAA${'A' * 43}",
        f"$scrypt$ln=16,r=1,p=1$AAAA${'A' * 43}",
        f"$scrypt$ln={'9' * 99},r=8,p=5$AAAA${'A' * 43}",
        "$scrypt$ln=14,r=8,p=5$AAAA$AAAA",
        "$scrypt$ln=14,p=5,r=8$AAAA$AAAA",
    ],
)
def test_what_is_no_hash(text: str) -> None:
    with pytest.raises(ValueError, match="^(" + "|".join(REASONS) + ")$"):
        parse(text)


@pytest.mark.parametrize("kind", [CHEAP, OLD, *SCHEMES])
def test_of_and_matches(kind: Kind) -> None:
    one, two = (make(kind) for _ in range(2))
    assert one.kind == kind
    assert one != two, "salted"
    assert one.matches(SECRET)
    assert not one.matches(WRONG)
    assert not one.matches(SECRET.strip())


def make(kind: Kind) -> Hash:
    return Scrypt.of(SECRET, kind) if isinstance(kind, Cost) else Scram.of(SECRET, kind)


@pytest.mark.parametrize("stored", [CHEAP, OLD, *SCHEMES], ids=str)
def test_every_check_makes_the_same_hashes(stored: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch)
    kinds = hashes.affordable([OLD, *SCHEMES[:1], SCHEMES[1]._replace(iterations=2)], CHEAP)
    mine = make(stored)
    everybodys = {*kinds, CHEAP}
    seen = []
    for secret, user in ((WRONG, None), (WRONG, mine), (SECRET, mine)):
        made.clear()
        assert verify(secret, user, kinds, CHEAP)[0] == (secret == SECRET)
        seen.append([*made])
    assert set(seen[0]) == everybodys
    assert seen[1] == seen[2]
    if stored in everybodys:
        assert seen == [seen[0]] * 3


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Kind]:
    """What is hashed from now on."""
    made: list[Kind] = []
    scrypt, pbkdf2 = hashlib.scrypt, hashlib.pbkdf2_hmac

    def count_scrypt(secret: bytes, **named: Any) -> bytes:
        made.append(Cost(named["n"], named["r"], named["p"]))
        return scrypt(secret, **named)

    def count_pbkdf2(name: str, secret: bytes, salt: bytes, iterations: int) -> bytes:
        made.append(Scheme(name.upper().replace("SHA", "SHA-"), iterations))
        return pbkdf2(name, secret, salt, iterations)

    monkeypatch.setattr(hashlib, "scrypt", count_scrypt)
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", count_pbkdf2)
    return made


@pytest.mark.parametrize("kind", [OLD, *SCHEMES], ids=str)
def test_a_good_login_brings_a_new_hash(kind: Kind) -> None:
    stored = make(kind)
    assert verify(WRONG, stored, [], CHEAP) == (False, None)
    verdict, new = verify(SECRET, stored, [], CHEAP)
    assert verdict
    assert new is not None
    assert new.cost == CHEAP
    assert new.salt != stored.salt
    assert new.matches(SECRET)
    assert verify(SECRET, new, [kind], CHEAP) == (True, None), "once"


def test_the_highest_cost_for_such_a_block_can_be_used() -> None:
    assert parse(Scrypt.of(SECRET, Cost(2**15, 1, 1)).text()).matches(SECRET)


@pytest.mark.parametrize("kind", [OLD, *SCHEMES], ids=str)
def test_of_several_credentials_any_is_right(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of one kind; and one of them is as much work as none."""
    mine = [
        hashes.Scram.of(secret, kind) if isinstance(kind, Scheme) else Scrypt.of(secret, kind)
        for secret in (SECRET, WRONG)
    ]
    for secret, right in ((SECRET, mine[0]), (WRONG, mine[1]), ("neither", None)):
        assert hashes.matching(secret, mine, [kind], CHEAP)[0] is right
    made = counted(monkeypatch)
    for credentials in ([], mine[:1]):
        hashes.matching(SECRET, credentials, [kind], CHEAP)
    assert made == [kind] * 2


@pytest.mark.parametrize(
    "broken",
    [
        Scrypt(Cost(3, 8, 1), b"", bytes(32)),
        Scrypt(Cost(1 << 40, 8, 1), b"", bytes(32)),
        Scrypt(Cost("x", 8, 1), b"", bytes(32)),  # type: ignore[arg-type]
        Scram("MD5", 4096, b"", bytes(16), bytes(16)),
        Scram("SHA-1", 0, b"", bytes(20), bytes(20)),
        Scram("SHA-1", 1 << 31, b"", bytes(20), bytes(20)),
        Scram("SHA-1", "x", b"", bytes(20), bytes(20)),  # type: ignore[arg-type]
        Scram("SHA-1", 1, None, bytes(20), bytes(20)),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_a_broken_hash_is_nobody_elses_trouble(broken: Hash, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of it makes what all others make; and nobody's check makes it."""
    kinds = hashes.affordable([broken.kind, OLD], CHEAP)
    made = counted(monkeypatch)
    with pytest.raises(ValueError, match="cannot be used"):
        verify(SECRET, broken, kinds, CHEAP)
    assert {CHEAP, OLD} <= {*made}
    assert verify(SECRET, None, kinds, CHEAP) == (False, None)


def test_no_check_makes_more_than_is_in_time() -> None:
    """The cheapest ones, together with today's."""
    kinds: list[Kind] = [Scheme("SHA-1", 4096), Scheme("SHA-256", 10_000), Cost(2**14, 8, 5), Cost(2**15, 8, 1)]
    dear: list[Kind] = [Cost(2**17, 8, 2), Scheme("SHA-1", 1_000_000)]
    assert hashes.affordable([*dear, *kinds]) == [kinds[0], kinds[1], kinds[3]]
