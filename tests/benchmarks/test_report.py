"""What is made of samples: ratios, goals, cliffs, its README's table."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import markdown
import pictures
import pytest
import report
import run
import steps
from cases import THOUSANDS, Case, Run
from commands import Commands
from growth import Sweep

README = Path(run.CHECKOUT, "tests/benchmarks/README.md")

SAMPLES = {"case": {"bridge": [{"rate": 50.0}, {"rate": 30.0}], "floor": [{"rate": 100.0}, {"rate": 40.0}]}}


def test_a_ratio_is_taken_within_each_round() -> None:
    ratios = report.paired(SAMPLES, "case", "rate", "bridge", "times", "floor")
    assert ratios == [0.5, 0.75]


@pytest.mark.parametrize(("bound", "holds"), [("at least", True), ("at most", False)])
def test_goals(bound: str, holds: bool) -> None:
    goal = report.Goal("g", "case", "rate", "bridge", bound, 0.6, "times", "floor")
    said = report.judge(goal, SAMPLES)
    assert (said["value"], said["min"], said["max"], said["holds"]) == (0.625, 0.5, 0.75, holds)
    assert (said["ours"], said["theirs"]) == (40, 70)


def test_a_goal_of_a_single_figure_in_its_unit() -> None:
    goal = report.Goal("g", "case", "rate", "bridge", "at most", 4, scale=10)
    said = report.judge(goal, SAMPLES)
    assert (said["value"], said["holds"]) == (4, True)


def test_what_was_not_measured_does_not_hold() -> None:
    goal = report.Goal("g", "case", "rate", "nobody", "at most", 4)
    said = report.judge(goal, SAMPLES)
    assert (said["value"], said["holds"]) == (None, False)


def growing(*rates: float) -> tuple[Sweep, report.Samples]:
    """A sweep in which the bridge had these rates and the floor twice as much, in two rounds."""
    steps = [(size, Case(f"growth-x-{size}", "x", (THOUSANDS,), (), "floor")) for size in range(len(rates))]
    samples = {
        case.name: {"bridge": [{"rate": rate}, {"rate": 2 * rate}], "floor": [{"rate": 2 * rate}, {"rate": 4 * rate}]}
        for (_, case), rate in zip(steps, rates, strict=True)
    }
    return Sweep("x", "x", "sizes", THOUSANDS, steps), samples


def test_growth_without_a_cliff() -> None:
    sweep, samples = growing(1000, 5000, 4600)
    said = steps.judge(sweep, samples)
    assert (said["value"], said["holds"]) == (pytest.approx(0.92), True)
    assert [row[-1] for row in steps.rows(sweep, samples, {})[1:]] == ["", "+400 %", "-8 %"]


def test_a_cliff_is_seen_though_it_goes_up_again() -> None:
    sweep, samples = growing(1000, 800, 9000)
    said = steps.judge(sweep, samples)
    assert (said["value"], said["holds"]) == (pytest.approx(0.8), False)
    assert steps.rows(sweep, samples, {})[2][-3:] == ["0.50", "CLIFF -20 %", "CLIFF -20 %"]


def test_a_step_that_failed_is_shown_and_not_jumped_over() -> None:
    sweep, samples = growing(1000, 2000, 3000, 4000, 5000)
    said = steps.judge(sweep, {name: figures for name, figures in samples.items() if name != "growth-x-1"})
    assert (said["value"], said["holds"]) == (None, False)
    assert "broke" in steps.rows(sweep, samples, {"growth-x-1": {"bridge": "broke"}})[2][1]


def test_goals_against_a_peer_that_is_not_installed_are_left_out(tmp_path: Path) -> None:
    def goals(helper_mux: str | None, ejabberd: str | None) -> set[str]:
        cases = run.all_cases(Commands(tmp_path, "python", 1, helper_mux, ejabberd))
        return {one["goal"] for one in run.judge(cases, [], run.Results({case.name: {} for case in cases}))}

    assert len(goals("m", "e")) == len(run.GOALS)
    assert goals("m", "e") - goals(None, "e") == {one.text for one in run.GOALS if one.against == "helper-mux"}
    assert goals("m", "e") - goals("m", None) == {one.text for one in run.GOALS if one.against == "ejabberd"}


def test_goals_alone_leave_out_only_what_no_goal_is_about(tmp_path: Path) -> None:
    everything = run.all_cases(Commands(tmp_path, "python", 1, "m", "e"))
    narrowed = run.of_goals(everything)
    results = run.Results({case.name: {} for case in everything})
    assert [one["goal"] for one in run.judge(narrowed, [], results)] == [goal.text for goal in run.GOALS]
    assert sum(len(case.runs) for case in narrowed) < sum(len(case.runs) for case in everything)


def test_another_python_runs_the_same_beside(tmp_path: Path) -> None:
    ours, theirs = (run.all_cases(Commands(tmp_path, python, 1, None, None)) for python in ("old", "new"))
    compared = {case.name: case.runs for case in run.with_other_python(ours, theirs, "Python 4")}
    (run_of_new,) = [one for one in compared["pool4"] if one.who == "bridge, Python 4"]
    (run_of_old,) = [one for one in compared["pool4"] if one.who == "bridge"]
    assert [*run_of_old.argv] == ["old" if word == "new" else word for word in run_of_new.argv]
    assert {name for name, runs in compared.items() if any("Python 4" in one.who for one in runs)} == {
        *markdown.PYTHONS
    }


def test_the_ratio_of_two_pythons_is_printed() -> None:
    samples = {"pool4": {"bridge": [{"rate": 1000.0}], "bridge, Python 4": [{"rate": 1500.0}]}}
    page = markdown.pythons({"beside": "Python 4", "machine": {"python": "3"}, "samples": samples})
    assert "| pool4: bridge | thousand/s | 1 (1 to 1) | 1.5 (1.5 to 1.5) | 1.5 |" in page
    assert markdown.pythons({"samples": samples}) == ""


def test_pictures_show_medians_and_name_the_lines_where_they_end(tmp_path: Path) -> None:
    sweeps = run.all_sweeps(Commands(Path(), "", 1, None, None))
    sizes = {case.name: size for sweep in sweeps for size, case in sweep.steps}
    rounds = {
        name: [{"rate": 1000.0 * size * k, "bytes_s": 1e6 * size * k} for k in (1, 2, 4)]
        for name, size in sizes.items()
    }
    samples: dict[str, dict[str, list[dict[str, float]]]] = {
        name: {"bridge": one, "floor": one} for name, one in rounds.items()
    }
    samples["open"] = {f"bridge, {share}%": [{"p50_us": 80.0, "p99_us": 900.0}] for share in (50, 80, 95)}
    written = pictures.write({"seconds": 1, "samples": samples}, tmp_path / "pictures")
    assert {path.stem for path in written} == {*(sweep.name for sweep in sweeps), "latency"}
    for path in written:
        assert ElementTree.parse(path).getroot().get("viewBox")
    texts = [
        one.text for one in ElementTree.parse(tmp_path / "pictures/flight.svg").iter() if one.tag.endswith("}text")
    ]
    assert {"1", "4", "16", "64", "256", "lines in flight", "bridge  512", "floor  512"} <= {*texts}


def test_publishing_replaces_only_what_is_between_the_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{markdown.BEGINS}\nold\n{markdown.ENDS}\nafter\n")
    machine = dict.fromkeys(("cores", "processor", "kernel", "python", "trio"), "-") | {"load": 0.0}
    kept = {"machine": machine, "rounds": 7, "seconds": 1, "samples": {}, "goals": []}
    markdown.publish(kept, readme)
    published = readme.read_text()
    assert published.startswith("before\n") and published.endswith("\nafter\n")
    assert "7 rounds" in published
    assert "old" not in published
    assert README.read_text().count(markdown.BEGINS) == README.read_text().count(markdown.ENDS) == 1


def test_who_sets_the_pace_comes_first_in_every_round() -> None:
    runs = [Run("a", ()), Run("a, 50%", (), paced_by="a", share=0.5), Run("b", ())]
    case = Case("open", "", (), runs)
    for backwards in (False, True):
        order = [one.who for one in run.in_order(case, backwards=backwards)]
        assert order.index("a") < order.index("a, 50%")


def test_the_readmes_commands_for_the_benchmark_can_be_typed() -> None:
    typed = re.findall(r"tests/benchmarks/run\.py (.*)", README.read_text())
    assert typed
    for arguments in typed:
        run.parse(arguments.split())


def test_the_readmes_table_is_what_a_run_prints() -> None:
    """Its heads at least: the figures are those of one run on one machine."""
    sample = {"rate": 1.0, "p50_us": 1.0, "p99_us": 1.0, "max_us": 1.0, "bytes_s": 1.0}
    names = [case.name for sweep in run.all_sweeps(Commands(Path(), "", 1, None, None)) for _, case in sweep.steps]
    samples = {name: {"floor": [sample], "bridge": [sample]} for name in [*names, *markdown.THROUGHPUT]}
    samples["open"] = {"bridge, 50%": [sample]}
    machine = dict.fromkeys(("cores", "processor", "kernel", "python", "trio"), "-") | {"load": 0.0}
    goal = report.judge(run.GOALS[0], samples)
    kept = {"machine": machine, "rounds": 1, "seconds": 1, "samples": samples, "goals": [goal]}
    page = markdown.page(json.loads(json.dumps(kept)))
    heads = re.findall(r"^(\|.*)\n\|---", page, re.MULTILINE)
    assert len(heads) == 7
    for head in heads:
        assert head in README.read_text()
