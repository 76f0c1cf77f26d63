"""Salted hashes of passwords: scrypt's, which are made here, and SCRAM's, which other servers have made.

The rules:

- Every hash can be told apart by its kind: all that makes a check of it take its time.
- `matching` makes one hash of each kind that occurs among all users, whoever is asked for, so that its time tells
  neither whether a user exists nor how that user's password is stored.
- Names and passwords are compared as they come.  RFC 5802 has both prepared with SASLprep: Prosody and ejabberd do
  that before they ask, unless they are told not to.
- Hashes of other servers may hold anything: what cannot be checked, or not in time, raises ValueError, without a word
  of what is stored.
"""

import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, Self, TypeVar

UNITS = 1 << 23
"""The most work that one hash may be, 3.4 s of it: after 4 s a bridge gives up on a program."""

ALGORITHMS = {"SHA-1": 20, "SHA-256": 32, "SHA-512": 64}
"""What SCRAM is used with (RFC 5802, RFC 7677, and ejabberd), and how many bytes it makes."""

BY_SIZE = {size: name for name, size in ALGORITHMS.items()}
"""Which of them made a key of so many bytes, where nothing else tells."""

_ITERATION = 2
"""The work of one iteration of SCRAM in units of scrypt's, 0.4 microseconds: measured as 0.6 for SHA-1 and SHA-256,
1.4 for SHA-512, and more where a CPU has no instructions for them."""

_SCRYPT_SIZE = 32
"""Bytes of our scrypt hashes, and of passlib's."""

_UNUSABLE = TypeError, ValueError, OverflowError, MemoryError
"""What values that make no sense become."""


class Cost(NamedTuple):
    """The cost of a scrypt hash: 128 * n * r bytes of memory, time proportional to n * r * p."""

    n: int
    r: int
    p: int

    @property
    def work(self) -> int:
        return self.n * self.r * self.p

    def digest(self, secret: str, salt: bytes) -> bytes:
        """What is stored for `secret`.

        Raises:
          ValueError: this cannot be calculated, or not in time.  So do TypeError, OverflowError, MemoryError say.
        """
        _require_affordable(self)
        # What OpenSSL calculates; its default limit, 32 MiB, is too low for some costs.
        memory = 128 * self.r * (self.n + self.p + 2)
        return hashlib.scrypt(
            secret.encode(), salt=salt, n=self.n, r=self.r, p=self.p, maxmem=memory, dklen=_SCRYPT_SIZE
        )


COST = Cost(n=2**14, r=8, p=5)
"""Cost of new hashes: 16 MiB, about 0.2 s; one of the equal choices in OWASP's password storage cheat sheet.
It is stored with every hash, so a change here leaves old ones valid.  A cheaper one is renewed at the next login."""

WORK_MOST = 4
"""What one check may cost, in hashes of today's cost: 0.9 s, so that a machine four times slower is still in time.
A hash beyond that, which we have never made, is checked in addition: its time shows that the user exists."""


class Scheme(NamedTuple):
    """How a SCRAM hash was made."""

    algorithm: str
    iterations: int

    @property
    def work(self) -> int:
        return _ITERATION * self.iterations

    def keys(self, secret: str, salt: bytes) -> tuple[bytes, bytes]:
        """StoredKey and ServerKey of RFC 5802.

        Raises:
          ValueError: as `Cost.digest`.
        """
        _require_affordable(self)
        if self.algorithm not in ALGORITHMS:
            raise ValueError("unknown SCRAM algorithm")
        name = self.algorithm.replace("-", "").lower()
        salted = hashlib.pbkdf2_hmac(name, secret.encode(), salt, self.iterations)
        client = hmac.digest(salted, b"Client Key", name)
        return hashlib.new(name, client).digest(), hmac.digest(salted, b"Server Key", name)

    def digest(self, secret: str, salt: bytes) -> bytes:
        return self.keys(secret, salt)[0]


Kind = Cost | Scheme


class Scrypt(NamedTuple):
    """A salted scrypt hash, with everything needed to check a secret against it."""

    cost: Cost
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, secret: str, cost: Cost = COST, salt: bytes | None = None) -> Self:
        """Hash `secret`, by default with a new salt."""
        salt = os.urandom(16) if salt is None else salt
        return cls(cost, salt, cost.digest(secret, salt))

    @property
    def kind(self) -> Cost:
        return self.cost

    def matches(self, secret: str) -> bool:
        return hmac.compare_digest(self.digest, self.cost.digest(secret, self.salt))

    def text(self) -> str:
        """As PHC string: `$scrypt$ln=14,r=8,p=5$SALT$HASH`."""
        n, r, p = self.cost
        return f"$scrypt$ln={n.bit_length() - 1},r={r},p={p}${_unpadded(self.salt)}${_unpadded(self.digest)}"


class Scram(NamedTuple):
    """What a server stores for SCRAM (RFC 5802): enough to check a password, not to log in with."""

    algorithm: str
    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    @classmethod
    def of(cls, secret: str, kind: Scheme, salt: bytes | None = None) -> Self:
        """As another server would make it of `secret`, by default with a new salt."""
        salt = os.urandom(16) if salt is None else salt
        return cls(*kind, salt, *kind.keys(secret, salt))

    @property
    def kind(self) -> Scheme:
        return Scheme(self.algorithm, self.iterations)

    @property
    def digest(self) -> bytes:
        return self.stored_key

    def matches(self, secret: str) -> bool:
        return hmac.compare_digest(self.stored_key, self.kind.digest(secret, self.salt))

    def text(self) -> str:
        """As RFC 5803 has it: `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY`."""
        salt, stored, server = map(to_base64, (self.salt, self.stored_key, self.server_key))
        return f"SCRAM-{self.algorithm}${self.iterations}:{salt}${stored}:{server}"


Hash = Scrypt | Scram


class Checkable(Protocol):
    """The kind of anything that a password can be checked against."""

    @property
    def work(self) -> int: ...

    def digest(self, secret: str, salt: bytes) -> bytes: ...


class Stored(Protocol):
    """Anything that a password can be checked against."""

    @property
    def kind(self) -> Checkable: ...

    @property
    def salt(self) -> bytes: ...

    @property
    def digest(self) -> bytes: ...


_Stored = TypeVar("_Stored", bound=Stored)
_Kind = TypeVar("_Kind", bound=Checkable)


def matching(
    secret: str, credentials: Sequence[_Stored], kinds: Iterable[Checkable], today: Cost
) -> tuple[_Stored | None, Scrypt | None, bool]:
    """The one of a user's credentials that `secret` matches.

    The same hashes are made for everybody: none is skipped because the answer is already known.  Only who has several
    credentials of one kind has one made for each.

    Args:
      credentials: none where there is no such user.
      kinds: those that occur among all users.
      today: the cost of a new hash, if it is one of the kinds.

    Returns:
      it, a new hash of the same secret, and whether every credential could be checked.
    """
    found: _Stored | None = None
    new: Scrypt | None = None
    usable = True
    wanted: list[tuple[Checkable, _Stored | None]] = []
    for kind in dict.fromkeys([*kinds, *(credential.kind for credential in credentials)]):
        wanted += [(kind, one) for one in credentials if one.kind == kind] or [(kind, None)]
    for kind, own in wanted:
        salt = os.urandom(16) if own is None else own.salt
        try:
            digest = kind.digest(secret, salt)
            if own is not None and hmac.compare_digest(digest, own.digest):
                found = own
        except _UNUSABLE:
            usable = usable and own is None
            continue
        if kind == today:
            new = Scrypt(today, salt, digest)
    return found, new, usable


def outdated(stored: Hash, today: Cost) -> bool:
    """Whether a new hash is to replace it."""
    return isinstance(stored, Scram) or stored.cost.work < today.work


def verify(secret: str, stored: Hash | None, kinds: Iterable[Kind], today: Cost = COST) -> tuple[bool, Scrypt | None]:
    """Whether `secret` is the one that is stored.

    Args:
      stored: None where there is no such user.
      kinds: those that occur among all users (`affordable` ones).
      today: the cost of new hashes.

    Returns:
      the verdict, and a new hash of the same secret if the stored one matches and is to be replaced by it.

    Raises:
      ValueError: what is stored cannot be used.  As many hashes were made.
    """
    found, new, usable = matching(secret, [stored] if stored else [], [today, *kinds], today)
    if not usable:
        raise ValueError("a hash cannot be used: it is broken")
    return found is not None, new if found is not None and outdated(found, today) else None


def affordable(kinds: Iterable[Kind], today: Cost = COST) -> list[Kind]:
    """Those besides `today` that `verify` can make for everybody, the cheapest first; none that cannot be made."""
    return within({*filter(is_possible, kinds)} - {today}, (WORK_MOST - 1) * today.work)


def within(kinds: Iterable[_Kind], work: int) -> list[_Kind]:
    """As many of these as cost no more than `work` together, the cheapest first."""
    chosen: list[_Kind] = []
    for kind in sorted(kinds, key=lambda kind: (kind.work, repr(kind))):
        if kind.work <= work:
            chosen.append(kind)
            work -= kind.work
    return chosen


def parse(text: str) -> Hash:
    """What `text` of either class has written; `$scrypt$` is also as passlib writes it.

    Raises:
      ValueError: it is nothing of the kind, or could never be checked.  The message does not hold the text.
    """
    try:
        found = _scrypt(text) if text.startswith("$scrypt$") else _scram(text)
    except ValueError:
        raise ValueError("no hash that can be read") from None
    return sound(found)


def sound(stored: Hash) -> Hash:
    """The same hash, if it can be checked.

    Raises:
      ValueError: why not, in a few words and none of its own.
    """
    if not is_possible(stored.kind):
        raise ValueError("an unknown algorithm or an impossible cost")
    size, other = _SCRYPT_SIZE, _SCRYPT_SIZE
    if isinstance(stored, Scram):
        size, other = ALGORITHMS[stored.algorithm], len(stored.server_key)
    if (len(stored.digest), other) != (size, size):
        raise ValueError("a key of the wrong length")
    if stored.kind.work > WORK_MOST * COST.work:
        raise ValueError("a hash that takes too long to check")
    return stored


def is_possible(kind: Kind) -> bool:
    """Whether a kind that was read somewhere is one at all; its parts may be of any type."""
    if isinstance(kind, Scheme):
        return kind.algorithm in ALGORITHMS and _are_positive(kind.iterations)
    if not _are_positive(*kind) or kind.n & (kind.n - 1):
        return False
    return 1 < kind.n.bit_length() <= 16 * kind.r  # RFC 7914: 1 < n < 2 ** (128 * r / 8)


def _are_positive(*values: object) -> bool:
    return all(isinstance(value, int) and value > 0 for value in values)


def _require_affordable(kind: Kind) -> None:
    if not 0 < kind.work <= UNITS:
        raise ValueError("a hash that takes too long to check")


def _scrypt(text: str) -> Scrypt:
    _, _, cost, salt, digest = text.split("$")
    ln, r, p = (_number(part, name) for part, name in zip(cost.split(","), ("ln=", "r=", "p="), strict=True))
    if ln > 63:
        raise ValueError("an impossible cost")
    return Scrypt(Cost(1 << ln, r, p), *(from_base64(part + "=" * (-len(part) % 4)) for part in (salt, digest)))


def _scram(text: str) -> Scram:
    name, salted, keys = text.split("$")
    iterations, salt = salted.split(":")
    stored, server = keys.split(":")
    if not name.startswith("SCRAM-"):
        raise ValueError("not SCRAM")
    return Scram(name[6:], _number(iterations), *map(from_base64, (salt, stored, server)))


def _number(text: str, prefix: str = "") -> int:
    digits = text.removeprefix(prefix)
    if not text.startswith(prefix) or not digits.isascii() or not digits.isdigit() or len(digits) > 10:
        raise ValueError("not a number")
    return int(digits)


def from_base64(text: str) -> bytes:
    """Raises ValueError if it is not base64, to the letter."""
    return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)


def to_base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _unpadded(data: bytes) -> str:
    return to_base64(data).rstrip("=")
