"""What Prometheus reads, read by its own parser."""

import copy
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bridge.commands.prometheus import exposition

from .test_health import PAGE, page


def read(text: str) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and its labels' values."""
    families = [*text_string_to_metric_families(text)]
    assert len({family.name for family in families}) == len(families)
    samples = [sample for family in families for sample in family.samples]
    found = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def test_its_parser_reads_it() -> None:
    found = read(exposition({"": page()}))
    assert found["extauth_bridge_up",] == 1
    assert found["extauth_bridge_info", "9.8"] == 1
    assert found["extauth_bridge_queries_total", "default", "granted"] == 5
    assert found["extauth_bridge_queries_by_command_total", "default", "auth", "denied"] == 2
    assert found["extauth_bridge_answer_time_seconds", "default", "1m", "0.99"] == 1.25
    assert ("extauth_bridge_answer_time_seconds", "default", "15m", "0.5") not in found, "nothing is known"
    assert found["extauth_bridge_programs", "default", "starting"] == 1
    assert found["extauth_bridge_programs_memory_bytes", "default"] == 12_300_000
    assert found["extauth_bridge_program_restarts_total", "default", "renewed"] == 1
    assert found["extauth_bridge_program_restarts_total", "default", "ended"] == 0, "so that its first one is noticed"
    assert found["extauth_bridge_lines_refused_total", "command"] == 4
    assert found["extauth_bridge_lines_refused_total", "host"] == 0


def test_names_types_and_units() -> None:
    families = [*text_string_to_metric_families(exposition({"": page()}))]
    for family in families:
        assert family.name.startswith("extauth_bridge_")
        assert family.documentation
        assert {sample.name.endswith("_total") for sample in family.samples} == {family.type == "counter"}
        assert family.type in ("counter", "gauge")


def test_several_daemons_and_one_that_is_gone() -> None:
    found = read(exposition({"": page(), "blue": page(granted=9), "red": None}))
    assert found["extauth_bridge_queries_total", "default", "granted"] == 5
    assert found["extauth_bridge_queries_total", "blue", "default", "granted"] == 9
    assert [found[name] for name in (("extauth_bridge_up",), ("extauth_bridge_up", "blue"))] == [1, 1]
    assert found["extauth_bridge_up", "red"] == 0


def test_no_name_can_forge_a_sample() -> None:
    strange: dict[str, Any] = copy.deepcopy(PAGE)
    name = 'a"} 1\nextauth_bridge_up 7 \\'
    strange["pools"] = {name: PAGE["pools"]["default"]}
    found = read(exposition({"": strange}))
    assert found["extauth_bridge_up",] == 1
    assert found["extauth_bridge_pool_up", name] == 1
