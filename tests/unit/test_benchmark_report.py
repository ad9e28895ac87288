"""The benchmark suite's tables: complete, honest about defeats, and never mixed from two runs."""

import json

import pytest

from benchmarks.charts import Bar, Curve, Row, bars, lines
from benchmarks.peers import record
from benchmarks.peers.report import markdown, plots, publish, write
from benchmarks.peers.scenarios import scenarios
from benchmarks.peers.systems import SYSTEMS, chosen
from benchmarks.peers.tables import TABLES


def run_with(**rates):
    run = record.begin("Redis 7.0.15", 1, quick=True)
    for system, rate in rates.items():
        run["systems"][system] = {"version": "1", "runtime": "Python", "problem": "", "floor": system == "floor"}
        if isinstance(rate, str):
            record.fail(run, system, "drain c100 w1", rate)
        else:
            record.add(run, system, "drain c100 w1", {"rate": rate, "worker_us": 1e6 / rate})
    return run


def test_every_scenario_is_in_a_table():
    shown = {column.scenario for table in TABLES for column in table.columns}
    assert {scenario.name for scenario in scenarios(quick=False)} == shown


def test_a_scenario_that_we_lose_is_listed():
    text = markdown(run_with(taskserver=100.0, rq=200.0))
    assert "Drain, 1 worker, concurrency 100: rq 200, taskserver 100" in text


def test_the_floor_does_not_compete():
    assert "Nowhere in this run" in markdown(run_with(taskserver=100.0, floor=200.0))


def test_a_system_without_a_figure_stays_in_the_table_with_the_reason():
    assert "*timed out after 30 s*" in markdown(run_with(taskserver=100.0, rq="timed out after 30 s"))


def test_a_round_that_failed_is_not_hidden_by_the_others():
    run = run_with(taskserver=100.0, rq=50.0)
    record.fail(run, "rq", "drain c100 w1", "timed out after 30 s")
    assert "50.0 *once: timed out after 30 s*" in markdown(run)


def test_medians_come_with_their_spread():
    run = run_with(taskserver=100.0)
    record.add(run, "taskserver", "drain c100 w1", {"rate": 300.0})
    record.add(run, "taskserver", "drain c100 w1", {"rate": 150.0})
    assert "**150** (100 … 300)" in markdown(run)


def test_a_run_survives_the_file(tmp_path):
    run = run_with(taskserver=100.0, rq="failed")
    record.save(run, tmp_path / "run.json")
    assert record.load([tmp_path / "run.json"]) == json.loads(json.dumps(run))


def test_two_runs_are_refused(tmp_path):
    for name in ("a", "b"):
        record.save(run_with(taskserver=100.0), tmp_path / name)
    with pytest.raises(ValueError, match="different runs"):
        record.load([tmp_path / "a", tmp_path / "b"])


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = run_with(taskserver=100.0, rq=50.0)
    write(run, tmp_path)
    assert {path.stem.removeprefix("bench-") for path in tmp_path.glob("*.svg")} == set(plots(run))
    assert plots(run) == plots(record.load([tmp_path / "run.json"]))


def test_publishing_replaces_what_was_published_before(tmp_path):
    (tmp_path / "docs" / "assets").mkdir(parents=True)
    page = tmp_path / "docs" / "benchmarks.md"
    page.write_text("before\n<!-- begin: made by python -m benchmarks.peers report -->old<!-- end -->\nafter\n")
    publish(run_with(taskserver=123.0), tmp_path)
    publish(run_with(taskserver=456.0), tmp_path)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "456" in text
    assert "123" not in text


def test_choosing_systems():
    assert {system.name for system in chosen("rq, arq")} == {"taskserver", "rq", "arq", "floor"}
    assert chosen(None) == list(SYSTEMS)
    with pytest.raises(ValueError, match="no system 'nope'"):
        chosen("nope")


def test_versions_are_pinned():
    assert all("==" in package or (system.node and "@" in package) for system in SYSTEMS for package in system.packages)


def test_charts_escape_and_keep_what_has_no_figure():
    assert "a &lt;b&gt;" in bars("a <b>", "jobs/s", [Row("x", [Bar(1, 1, 2)]), Row("y", [None], note="timed out")])
    assert "timed out" in bars("t", "jobs/s", [Row("y", [None], note="timed out")])
    assert "no figures" in lines("t", "x", "y", [])
    assert "<polyline" in lines("t", "x", "y", [Curve("ours", [(1, 10), (10, 20)])])


def test_a_target_is_held_against_the_best_that_is_named():
    text = markdown(run_with(taskserver=100.0, ardiq=40.0, saq=5.0, arq=4.0, floor=120.0))
    assert "| drain, concurrency 100 | ≥ 3 of ardiq's | 2.50 (100 and 40.0) | **missed** |" in text
    assert "| drain, concurrency 100 | ≥ 15 of saq's | 20.00 (100 and 5) | reached |" in text
    assert "| drain, concurrency 100 | ≥ 0.7 of floor's | 0.83 (100 and 120) | reached |" in text


def test_a_target_without_figures_is_left_out():
    assert "### Targets" not in markdown(run_with(taskserver=100.0, rq=200.0))
