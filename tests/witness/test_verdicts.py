"""ejabberd and the bridge ask the same programs the same questions, and say the same, but for what is listed."""

import re
from collections import defaultdict

import pytest
from support.ejabberd.differences import WANTED
from support.ejabberd.site import PYTHON, Outcome
from support.readme import ROOT

HOWTO = ROOT / "bridge/man/share/man/man7/extauth-bridge-howto.7"

DIFFERENT = {kind: (one.ejabberd, one.bridge) for one in WANTED for kind in one.kinds}


@pytest.mark.slow
def test_both_say_the_same(outcomes: list[Outcome]) -> None:
    """All of a kind that is listed differ as is said there, and nothing else differs."""
    assert len(outcomes) >= 2000
    said = defaultdict(set)
    for one in outcomes:
        said[one.kind].add((one.ejabberd, one.bridge))
    differ = {kind: pairs for kind, pairs in said.items() if any(theirs != ours for theirs, ours in pairs)}
    assert differ == {kind: {pair} for kind, pair in DIFFERENT.items()}


@pytest.mark.slow
def test_agreement_is_not_trivial(outcomes: list[Outcome]) -> None:
    """Both sides say yes and no often enough for their agreement to mean something."""
    for command in ("auth", "isuser", "setpass", "tryregister", "removeuser", "removeuser3"):
        verdicts = [one.bridge for one in outcomes if one.question.command == command]
        assert min(verdicts.count("yes"), verdicts.count("no")) >= 5, command


@pytest.mark.slow
def test_programs_read_the_same_bytes(outcomes: list[Outcome]) -> None:
    """Whatever both hand to a program are the very same bytes, except for names that ejabberd prepares."""
    single = ("auth", "isuser", "setpass")  # the others are two questions each at ejabberd
    asked = [one for one in outcomes if one.question.command in single]
    both = [one for one in asked if one.bridge_read and one.ejabberd_read]
    assert len(both) > 50
    for one in both:
        assert one.bridge_read == [one.question.line.removesuffix(b"\r")], one.kind
        if one.kind not in DIFFERENT:
            assert one.ejabberd_read == [one.question._replace(host=PYTHON.encode()).line], one.kind
    ours = {one.kind for one in outcomes if one.bridge_read and not one.ejabberd_read}
    assert ours - DIFFERENT.keys() == {"auth: a colon in the name"}, "ejabberd refuses these itself"


@pytest.mark.slow
def test_no_control_character_reaches_a_program(outcomes: list[Outcome]) -> None:
    """Those that ejabberd passes on stay with the bridge."""
    passed_on = [frame for one in outcomes for frame in one.ejabberd_read if has_control(frame)]
    assert passed_on
    assert not [frame for one in outcomes for frame in one.bridge_read if has_control(frame)]


def test_the_manual_tells_of_all_differences() -> None:
    section = HOWTO.read_text().partition(".Sh COMING FROM EJABBERD\n")[2].partition(".Sh ")[0]
    assert {one.item for one in WANTED if one.item} <= set(re.findall(r"^\.It (.*)$", section, re.MULTILINE))


def has_control(frame: bytes) -> bool:
    return any(byte < 32 or byte == 127 for byte in frame)
