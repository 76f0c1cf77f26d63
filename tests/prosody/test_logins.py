"""Logins by real clients through Debian's Prosody, our module, the daemon and real programs: who gets in, and what
the programs are told, byte for byte."""

# ruff: noqa: RUF001 (letters that look like others are the point here)

from collections import Counter

from support.prosody.site import Site, right
from support.prosody.xmpp_slixmpp import Login

PROSODIES = ["here", "13"]

WRONG = "wrong-password"


async def test_the_right_password_logs_in_and_a_wrong_one_does_not(site: Site) -> None:
    site.configure()
    site.serve()
    outcomes = await site.log_in(Login("alice", right("alice")), Login("bob", WRONG), Login("nobody", right("nobody")))
    assert outcomes == ["success", "not-authorized", "not-authorized"]
    assert Counter(site.frames("auth")) == Counter(
        site.line("auth", user, secret)
        for user, secret in [("alice", right("alice")), ("bob", WRONG), ("nobody", right("nobody"))]
    )


async def test_only_the_mechanism_that_hands_over_the_password_is_offered(site: Site) -> None:
    site.configure()
    async with site.client() as client:
        assert client.features is not None
        offered = [one.text for one in client.features.iter("{urn:ietf:params:xml:ns:xmpp-sasl}mechanism")]
        assert offered == ["PLAIN"]
        await client.send(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>biwsbj1hLHI9Yg==</auth>"
        )
        assert await client.outcome() == "invalid-mechanism"


# The name as the client sends it, the name that arrives; the program takes "pw-" and that name, no more.
NAMES = [
    ("Alice", "alice"),
    ("ＡＬＩＣＥ", "alice"),  # full width
    ("al\u00adice", "alice"),  # a soft hyphen is mapped to nothing
    ("jürgen", "jürgen"),
    ("ju\u0308rgen", "jürgen"),  # combining
    ("Ⅳ", "iv"),  # NFKC
    ("ﬁona", "fiona"),  # a ligature
    ("Straße", "strasse"),
    ("дмитрий", "дмитрий"),
    ("金-庸", "金-庸"),
    ("a.b_c+d%e", "a.b_c+d%e"),
]


async def test_a_name_arrives_prepared(site: Site) -> None:
    site.configure()
    site.serve()
    for sent, prepared in NAMES:
        assert await site.plain(sent, WRONG) == "not-authorized", sent
        assert await site.plain(sent, right(prepared)) == "success", sent
        frames = [site.line("auth", prepared, WRONG), site.line("auth", prepared, right(prepared))]
        assert site.frames("auth")[-2:] == frames, sent


# The password as the client sends it, and as SASLprep leaves it.
PASSWORDS = [
    ("pw-alice", "pw-alice"),
    ("ｐｗ－ａｌｉｃｅ", "pw-alice"),  # full width
    ("pw\u00ad-al\u2060ice", "pw-alice"),  # a soft hyphen, a word joiner
    ("ﬁſh\u00a0²", "fish 2"),  # NFKC, and a space that does not break
    ("u\u0308ber-geheim", "über-geheim"),  # combining
    ("Ångström-Ω", "Ångström-Ω"),  # the sign for ångström, the one for ohm
    ("wonder:land:", "wonder:land:"),
    (":", ":"),
    ("auth:bob:h:pw-bob", "auth:bob:h:pw-bob"),
    ("  two  blanks  ", "  two  blanks  "),
    ("пароль-密码", "пароль-密码"),
    ("%s%d%n\\n\\0'\"<&>]]>", "%s%d%n\\n\\0'\"<&>]]>"),
    ("x" * 1000, "x" * 1000),
]


async def test_a_password_arrives_prepared_and_otherwise_byte_for_byte(site: Site) -> None:
    site.configure()
    site.serve()
    async with site.client() as client:
        for sent, _ in PASSWORDS[3:]:
            assert await client.plain("alice", sent) == "not-authorized", sent
    for sent, _ in PASSWORDS[:3]:
        assert await site.plain("alice", sent) == "success", sent
    assert site.frames("auth") == [
        site.line("auth", "alice", prepared) for _, prepared in PASSWORDS[3:] + PASSWORDS[:3]
    ]


# What SASL itself refuses: a message, and what is said to it. None of these reaches a program.
REFUSED = {
    "empty password": b"\0alice\0",
    "no password": b"\0alice",
    "nothing": b"",
    "empty name": b"\0\0pw-alice",
    "colon in the name": b"\0alice:h\0pw-alice",
    "newline in the name": b"\0alice\nbob\0pw-alice",
    "address as a name": b"\0alice@example.com\0pw-alice",
    "blank in the name": b"\0al ice\0pw-alice",
    "newline in the password": b"\0alice\0pw-alice\nisuser:alice:h",
    "return in the password": b"\0alice\0pw-alice\r",
    "zero byte in the password": b"\0alice\0wrong-password\0\npw-alice",
    "escape in the password": b"\0alice\0\x1bpw-alice",
    "next line in the password": b"\0alice\0pw-alice\xc2\x85",
    "line separator in the password": "\0alice\0pw-alice\u2028".encode(),
    "not UTF-8": b"\0alice\0pw-alice\xff",
    "overlong UTF-8": b"\0alice\0pw-alice\xc0\x8a",
    "surrogate": b"\0alice\0pw-alice\xed\xa0\x80",
    "name not UTF-8": b"\0alice\xff\0pw-alice",
    "only a soft hyphen": "\0alice\0\u00ad".encode(),
    "name of a soft hyphen": "\0\u00ad\0pw-alice".encode(),
    "both directions": "\0alice\0pw-\u05d0-alice".encode(),
    "longer than SASLprep takes": b"\0alice\0" + b"p" * 5000,
}


async def test_what_no_name_or_password_can_be_never_reaches_a_program(site: Site) -> None:
    site.configure()
    site.serve()
    for name, message in REFUSED.items():
        async with site.client() as client:
            before = len(site.frames())
            await client.start_sasl(message)
            assert await client.outcome() in ("malformed-request", "not-authorized"), name
            assert len(site.frames()) == before, name
            assert await client.plain("bob", WRONG) == "not-authorized"
            assert await client.plain("bob", right("bob")) == "success"
            assert site.frames("auth")[before:] == [site.line("auth", "bob", one) for one in (WRONG, right("bob"))]


async def test_legacy_authentication_asks_the_same(site: Site) -> None:
    """XEP-0078, where Prosody itself prepares nothing."""
    site.configure()
    site.serve()
    async with site.client() as client:
        assert await client.legacy("alice", WRONG) == "not-authorized"
        assert await client.legacy("alice", "") == "not-authorized"
        assert await client.legacy("alice", "ｐｗ-malice") == "not-authorized"
        assert await client.legacy("al:ice", right("alice")) == "bad-request"
        assert await client.legacy("alice", right("alice")) == "success"
        assert await client.ping() > 0
    secrets = [WRONG, "pw-malice", right("alice")]
    assert site.frames("auth") == [site.line("auth", "alice", secret) for secret in secrets]


async def test_attempts_sent_at_once_are_answered_in_turn(site: Site) -> None:
    """One connection, several attempts without waiting: each its own answer, the name that of the one that succeeds."""
    site.configure()
    site.serve()
    async with site.client() as client:
        await client.start_plain("slow200-bob", right("bob"))
        await client.start_plain("bob", right("alice"))
        await client.start_plain("slow100-alice", right("slow100-alice"))
        assert [await client.outcome() for _ in range(3)] == ["not-authorized", "not-authorized", "success"]
        assert (await client.bind()).startswith(f"slow100-alice@{site.host}/")


async def test_one_host_is_not_asked_about_the_other(site: Site, another_site: Site) -> None:
    """Each virtual host has its socket and its name; both are asked at the same time."""
    for place in (site, another_site):
        place.configure()
        place.serve()
    assert await site.plain("alice", right("alice")) == "success"
    assert await another_site.plain("bob", WRONG) == "not-authorized"
    assert site.frames("auth") == [site.line("auth", "alice", right("alice"))]
    assert another_site.frames() == [another_site.line("auth", "bob", WRONG)]
