"""Questions for ejabberd and the bridge, each with its kind; the answers of one kind are the same.

Every generator below gives one question of each of its kinds, with names and secrets that the dice choose.  The
programs' truth table is that of tests/programs/wire.py.
"""

import random
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

CHANGED = ("ALICE", "Bob", "\uff43arol", "straße", unicodedata.normalize("NFD", "jürgen"))
"""Beginnings of names that nodeprep makes others of."""

FORBIDDEN = " \"&'/<>@"
"""What nodeprep allows in no name, besides controls and the colon."""

FOREIGN = ("jürgen", "ñandú", "алиса", "δοκιμή", "张伟")
"""Beginnings of names that nodeprep leaves alone."""

CONTROLS = ("\x01", "\t", "\x1b", "\x7f", "\x85", "\u009f")

NEVER_NEW = ("\ue000", "\u200e", "\u0627a", "🔑", "\u1680", "\ufff9")
"""What ejabberd allows in no new password: resourceprep forbids it, or did not know it in 2002."""

MAX_LINE = 4096


class Question(NamedTuple):
    """What is asked; `line` is how a client of the bridge says it, without the line end."""

    kind: str
    command: str
    user: bytes
    host: bytes
    secret: bytes = b""

    @property
    def line(self) -> bytes:
        fields = [self.command.encode(), self.user, self.host, self.secret]
        return b":".join(fields[:3] if self.command in ("isuser", "removeuser") else fields)


def right(user: str) -> str:
    return f"pw-{user}"


class Maker:
    """Makes the questions to one host."""

    def __init__(self, dice: random.Random, host: str) -> None:
        self._dice = dice
        self._host = host

    def known(self, begins: str = "u") -> str:
        """A user who exists, and whom no other question is about."""
        return f"{begins}{self._dice.randrange(10**9)}"

    def unknown(self) -> str:
        """One who does not."""
        return self._dice.choice(("no", "u-no")) + str(self._dice.randrange(10**9))

    def text(self, size: int) -> str:
        """Printable ASCII."""
        return "".join(chr(self._dice.randrange(32, 127)) for _ in range(size))

    def ask(
        self, kind: str, command: str, user: str | bytes, secret: str | bytes = b"", *, host: str | None = None
    ) -> Question:
        name, word = (part.encode() if isinstance(part, str) else part for part in (user, secret))
        where = self._host if host is None else host
        return Question(f"{command}: {kind}", command, name, where.encode(), word)

    def size_of_frame(self, size: int, user: str) -> str:
        """A wrong password that makes the frame so long."""
        return self.text(size - len(f"auth:{user}:{self._host}:"))

    # --- may he log in? ----------------------------------------------------------------------------------

    def passwords(self) -> Iterator[Question]:
        """Right and wrong ones that a person could type."""
        pick, known, unknown = self._dice.choice, self.known, self.unknown
        user = known()
        wrong = {
            "wrong password": self.text(self._dice.randrange(1, 30)),
            "empty password": "",
            "another user's password": right(known()),
            "right password, and more": right(user) + self.text(self._dice.randrange(1, 5)),
            "part of the right password": right(user)[: self._dice.randrange(1, len(user) + 3)],
            "right password in capitals": right(user).upper(),
            "colons": pick(("{}:", ":{}", "{}:{}", ":", "::{}:", "{}:x:y")).replace("{}", right(user)),
            "blanks": pick((" {}", "{} ", " ", "\u00a0{}", "{}\u3000")).replace("{}", right(user)),
            "not ASCII": pick(("pässwörd", "密码", "пароль", "🔑🔒", "e\u0301", "\ue000", "\u202e{}")),
            "a control character behind the right password": right(user) + pick(CONTROLS),
            "a control character before it": pick(CONTROLS) + right(user),
            "a NUL before the right password": "\0" + right(user),
        }
        yield self.ask("right password", "auth", user, right(user))
        foreign = known(pick(FOREIGN))
        yield self.ask("right password, not ASCII", "auth", foreign, right(foreign))
        missing = unknown()
        yield self.ask("right password, unknown user", "auth", missing, right(missing))
        for kind, secret in wrong.items():
            yield self.ask(kind, "auth", user, secret)
        yield self.ask("not UTF-8", "auth", user, right(user).encode() + pick((b"\xff", b"\xc3", b"\xed\xa0\x80")))

    def hostile(self) -> Iterator[Question]:
        """What tries to be more, or to be something else, than one question."""
        pick, user, host = self._dice.choice, self.known(), self._host
        other = self.known()
        yield self.ask("a NUL behind the right password", "auth", user, f"{right(user)}\0{pick(('', 'x'))}")
        yield self.ask("a carriage return behind the right password", "auth", user, right(user) + "\r")
        yield self.ask(
            "a line feed behind the right password", "auth", user, right(user) + pick(("\n", "\r\n", "\n\n"))
        )
        good = f"auth:{other}:{host}:{right(other)}"
        for end in ("\n", "\r\n", "\0\n"):
            yield self.ask("a question that is right in the password", "auth", user, f"x{end}{good}")
        yield self.ask("a question that is right, and a line feed", "auth", user, f"x\n{good}\n")
        yield self.ask("a whole frame in the password", "auth", user, f"x\0{chr(len(good))}{good}")
        yield self.ask("a reply in the password", "auth", user, "\0\2\0\1")
        yield self.ask("a line feed in the name", "auth", f"{user}\n{good}", right(user))
        yield self.ask("a line feed in the new password", "setpass", user, f"x\n{good}")

    def sizes(self) -> Iterator[Question]:
        """Long ones, with lengths that hold a line feed or a NUL."""
        pick, short = self._dice.choice, self.known()
        size = pick((255, 256, 257, 266, 512, 522, 1024, 1290, 2560, 2570, 2815, 3328, 3850, 4095, MAX_LINE))
        yield self.ask("long password", "auth", short, self.size_of_frame(size, short))
        size = pick((MAX_LINE + 1, 5000, 8192, 20000, 32767, 32768, 60000, 65535))
        yield self.ask("password longer than max_line", "auth", short, self.size_of_frame(size, short))
        total = pick((255, 256, 266, 512, 522, 768, 1024, 1034, 1290, 1802))
        user = self.known("u" * ((total - len(f"auth::{self._host}:pw-")) // 2 - 10))
        yield self.ask("right password, long", "auth", user, right(user))
        long = self.known("u" * 1023)
        yield self.ask("name longer than 1023 bytes", "auth", long, right(long))
        yield self.ask("new password, long", "setpass", short, self.text(pick((255, 256, 512, 1000, 1023))))
        yield self.ask("new password longer than 1023 bytes", "setpass", short, self.text(pick((1024, 2000, 3900))))

    # --- names -------------------------------------------------------------------------------------------

    def names(self) -> Iterator[Question]:
        """Those that XMPP prepares, forbids or does not have."""
        pick = self._dice.choice
        typed = self.known(pick(CHANGED))
        prepared = unicodedata.normalize("NFKC", typed.casefold())
        yield self.ask("name not prepared, password of the prepared one", "auth", typed, right(prepared))
        yield self.ask("name not prepared, password of the name as it is", "auth", typed, right(typed))
        for command in ("auth", "isuser", "setpass"):
            yield from self._odd_names(command)
        user = self.known()
        yield self.ask("a colon in the name", "auth", f"{user}:{self._host}", right(user))
        yield self.ask("a colon in the name", "isuser", f"{user}:{self._host}")
        yield self.ask("another account and a colon in the name", "setpass", f"{user}:{self._host}", self.text(9))
        yield self.ask("host in capitals", "auth", user, right(user), host=self._host.upper())
        yield self.ask("empty host", "auth", user, right(user), host="")
        yield self.ask("empty host", "isuser", user, host="")

    def _odd_names(self, command: str) -> Iterator[Question]:
        pick = self._dice.choice
        at = f"{self.known()}{pick(FORBIDDEN)}x"
        yield self.ask("a character that names cannot hold", command, at, right(at))
        yield self.ask("empty name", command, "", right(""))
        control = self.known() + pick(CONTROLS) + "x"
        yield self.ask("a control character in the name", command, control, right(control))
        broken = self.known().encode() + b"\xff"
        yield self.ask("name not UTF-8", command, broken, b"pw-" + broken)
        user = self.known()
        yield self.ask("unknown host", command, user, right(user), host=pick(("elsewhere.example", "example")))

    # --- what is not a login -----------------------------------------------------------------------------

    def accounts(self) -> Iterator[Question]:
        """Who exists, and new passwords."""
        pick = self._dice.choice
        yield self.ask("known", "isuser", self.known(pick(("u", *FOREIGN))))
        yield self.ask("unknown", "isuser", self.unknown())
        user = self.known(pick(("u", *FOREIGN)))
        yield self.ask("known", "setpass", user, pick(("new", "a:b:c", ":", "with blanks ", "ñeu", "密码")))
        yield self.ask("unknown", "setpass", self.unknown(), "new")
        yield self.ask("empty password", "setpass", user, "")
        yield self.ask("not UTF-8", "setpass", user, b"new\xff")
        yield self.ask("a control character", "setpass", user, "new" + pick(CONTROLS) + "x")
        yield self.ask("a NUL", "setpass", user, "new\0" + pick(("", "x")))
        yield self.ask("a carriage return at the end", "setpass", user, "new\r")
        yield self.ask("what resourceprep forbids", "setpass", user, pick(NEVER_NEW) + "new")

    def registrations(self) -> Iterator[Question]:
        """Accounts that come and go, for programs that know of it."""
        known, unknown = self.known(), self.unknown()
        yield self.ask("known", "tryregister", known, "new")
        yield self.ask("unknown", "tryregister", unknown, "new")
        yield self.ask("empty password", "tryregister", unknown, "")
        yield self.ask("what resourceprep forbids", "tryregister", unknown, self._dice.choice(NEVER_NEW) + "new")
        yield self.ask("known", "removeuser", known)
        yield self.ask("unknown", "removeuser", unknown)
        yield self.ask("right password", "removeuser3", known, right(known))
        yield self.ask("wrong password", "removeuser3", known, self.text(9))
        yield self.ask("unknown", "removeuser3", unknown, right(unknown))

    def faults(self) -> Iterator[Question]:
        """Those to which tests/programs/faulty.py replies wrongly, each followed by one of somebody else."""
        for fault, what in (
            ("twice", "replied to twice"),
            ("third", "neither yes nor no"),
            ("short", "a byte too few"),
        ):
            user = self.known(f"{fault}-u")
            asked = (
                self.ask(f"right password, {what}", "auth", user, right(user)),
                self.ask(f"wrong password, {what}", "auth", user, self.text(9)),
                self.ask(what, "isuser", user),
                self.ask(what, "setpass", user, "new"),
            )
            for question in asked:
                yield question
                yield self.ask("right password after a fault", "auth", other := self.known(), right(other))
                yield self.ask("wrong password after a fault", "auth", self.known(), self.text(9))

    def round(self, *, registrations: bool) -> list[Question]:
        """One of each kind, in any order."""
        kinds = [self.passwords, self.hostile, self.sizes, self.names, self.accounts]
        found = [question for kind in [*kinds, *[self.registrations] * registrations] for question in kind()]
        self._dice.shuffle(found)
        return found
