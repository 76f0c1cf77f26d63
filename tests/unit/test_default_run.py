"""The default run, without what is marked as slow, executes every module: none is to be forgotten.

A module `bridge/x/y.py` has tests of its own, `tests/unit/x/test_y*.py`, or stands below with the tests whose matter it
is too. What is slow does not count.
"""

import ast
from pathlib import Path

import pytest
from support.readme import ROOT

PACKAGE, TESTS = ROOT / "bridge", ROOT / "tests"

ELSEWHERE = {
    "blackbox/test_ask.py": "__main__ entry commands/cli commands/ask commands/demo commands/password",
    "blackbox/test_ask_daemon.py": "relay/oneshot",
    "blackbox/test_bench.py": "bench/load commands/bench",
    "blackbox/test_completion.py": "commands/completion",
    "blackbox/test_check.py": "commands/check",
    "blackbox/test_hosts.py": "commands/arguments commands/run daemon/process daemon/service",
    "blackbox/test_reload.py": "commands/reload",
    "blackbox/test_serve.py": "commands/serve clients/acceptor clients/status",
    "blackbox/test_status.py": "commands/status commands/statussocket clients/page daemon/statuslog",
    "contract/test_worker_replies.py": "worker/misbehaviour worker/worker",
    "prosody/test_install.py": "commands/prosodymodule",
    "examples/test_examples.py": "systemd/examples/http_backend systemd/examples/imap_login systemd/examples/ldap_bind "
    "systemd/examples/pam_saslauthd",
    "pty/test_relay.py": "clients/stdio relay/relay relay/deferredlog terminal/takeover",
    "unit/checking/test_replies.py": "checking/flaw checking/linereplies",
    "unit/checking/test_report.py": "checking/findings",
    "unit/checking/test_trials.py": "checking/accounts checking/content checking/course checking/driver "
    "checking/dialects checking/endings checking/endurance checking/first checking/flow checking/lab",
    "unit/commands/test_health.py": "commands/statustext",
    "unit/clients/test_pipelined.py": "clients/windowed",
    "unit/commands/test_help.py": "commands/mdoc",
    "unit/config/test_table.py": "config/options config/settings",
    "unit/log/test_events.py": "log/setup log/ratelimit",
    "unit/pool/test_backoff.py": "log/tokenbucket",
    "unit/protocol/test_generic.py": "protocol/codec protocol/codecs protocol/explain",
    "unit/pool/test_fairqueue.py": "pool/lanes pool/shared pool/turns",
    "unit/pool/test_pool.py": "pool/milestones pool/servicetime",
    "unit/pool/test_pool_reload.py": "pool/poolset",
    "unit/pool/test_pool_trouble.py": "pool/again pool/poollog",
    "unit/programs/importing/test_piefxis.py": "programs/importing/ejabberd",
    "unit/programs/importing/test_prosody.py": "programs/importing/entry",
    "unit/programs/importing/test_sqldump.py": "programs/importing/sqltokens",
    "unit/programs/test_sql.py": "programs/sqlurl",
    "unit/programs/test_sql_tables.py": "programs/sqlrows programs/sqltables",
    "unit/programs/test_sql_users.py": "programs/sqlusers",
    "unit/programs/test_sqlite_manage.py": "programs/names",
    "unit/programs/test_sqlite_users.py": "programs/users",
    "unit/programs/test_transfer.py": "programs/exporting",
    "unit/relay/test_pipes.py": "commands/connect",
    "unit/terminal/test_watcher_tree.py": "terminal/procfs",
    "unit/setup/test_files.py": "setup/former",
    "unit/setup/test_whole.py": "commands/setup setup/firstconfig setup/host setup/services",
    "unit/worker/test_stderrlines.py": "log/text",
}

MODULES = sorted(
    str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.rglob("*.py") if path.stem != "__init__"
)


def files_for(module: str) -> list[Path]:
    listed = [TESTS / file for file, modules in ELSEWHERE.items() if module in modules.split()]
    own = TESTS / "unit" / module
    return listed + sorted(own.parent.glob(f"test_{own.name}*.py"))


def is_run(file: Path) -> bool:
    """Is there anything in a file that is not marked as slow?"""
    body = ast.parse(file.read_text()).body
    tests = [one for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    marks = [[ast.unparse(mark) for mark in test.decorator_list] for test in tests if test.name.startswith("test_")]
    whole = any(ast.unparse(one) == "pytestmark = pytest.mark.slow" for one in body)
    return not whole and any("pytest.mark.slow" not in marked for marked in marks)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_executed(module: str) -> None:
    files = files_for(module)
    assert files, "it has no tests of its own, and ELSEWHERE does not name others"
    assert any(map(is_run, files)), f"all of it is slow: {files}"


def test_what_stands_elsewhere_is_there() -> None:
    listed = [module for modules in ELSEWHERE.values() for module in modules.split()]
    assert sorted(listed) == sorted(set(listed) & set(MODULES))
    assert all((TESTS / file).exists() for file in ELSEWHERE)
