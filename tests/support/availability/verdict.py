"""What came of a scene: who was granted when, what it cost, and whether that is what was wanted."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Login:
    """One question and what became of it; times are those of time.monotonic().

    Attributes:
      who: the kind of asker, such as `others`.
      right: the programs would grant it.
      verdict: `0`, `1`, `2`; nothing if the connection ended or no answer came at all.
      seconds: from the moment it was sent to its answer, but for those that are not the daemon's doing.
    """

    who: str
    right: bool
    sent: float
    verdict: str = ""
    seconds: float = 0.0

    @property
    def granted(self) -> bool:
        return self.verdict == "1"

    @property
    def answered(self) -> float:
        return self.sent + self.seconds


@dataclass(slots=True)
class Period:
    """A part of a scene: what was asked in it counts, whenever its answer came."""

    begin: float
    end: float = float("inf")

    def of(self, logins: Iterable[Login]) -> list[Login]:
        return [login for login in logins if self.begin <= login.sent < self.end]


@dataclass(frozen=True, slots=True)
class Figures:
    """Some right logins: how many were asked, not granted, granted late; the longest wait in seconds."""

    asked: int
    failed: int
    late: int
    longest: float

    @classmethod
    def of(cls, logins: Iterable[Login], late: float) -> "Figures":
        right = [login for login in logins if login.right]
        return cls(
            asked=len(right),
            failed=sum(not login.granted for login in right),
            late=sum(login.granted and login.seconds > late for login in right),
            longest=max((login.seconds for login in right), default=0.0),
        )

    def __str__(self) -> str:
        return f"{self.failed} failed and {self.late} late of {self.asked}, longest {self.longest:.2f} s"


@dataclass
class Result:
    """One scene's row of the table.

    Attributes:
      others: of the logins that had nothing to do with the trouble, while it lasted.
      after: the same once it was over.
      starts: programs that began to run.
      kills: programs that were ended other than by themselves or at the end of their input.
      innocent: those of them that did not hang.
      most: the most programs that ran at once.
      lag: seconds, the longest that the generator of the load was held up; no login is blamed for it.
      said: further figures, in words.
      broken: what does not hold, in words; empty if all does.
      missing: what the bridge does not offer, so that nothing was measured.
    """

    name: str
    title: str
    wanted: str
    others: Figures | None = None
    after: Figures | None = None
    starts: int = 0
    kills: int = 0
    innocent: int = 0
    most: int = 0
    lag: float = 0.0
    said: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    missing: str = ""

    def want(self, holds: object, otherwise: str) -> None:
        """Something must hold, or else `otherwise` is what is wrong."""
        if not holds:
            self.broken.append(otherwise)

    @property
    def state(self) -> str:
        if self.missing:
            return f"not offered: {self.missing}"
        return "holds" if not self.broken else "FAILS: " + "; ".join(self.broken)
