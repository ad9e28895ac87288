"""Which setting the tuner names, and why."""

from benchmarks.tune import Measured, Setting, choose, plot


def measured(replicas, concurrency, rate, p99):
    return Measured(Setting(replicas, concurrency), rate, p99 / 2, p99, 0.5)


def test_the_fastest_setting_is_taken():
    found = [measured(1, 1, 10, 5.0), measured(1, 16, 160, 5.0), measured(1, 64, 50, 5.0)]
    assert choose(found)[0].setting == Setting(1, 16)


def test_of_settings_that_are_fast_enough_the_quickest_tool_wins():
    found = [measured(1, 16, 950, 20.0), measured(1, 64, 1000, 80.0)]
    taken, why = choose(found)
    assert taken.setting == Setting(1, 16)
    assert "95% of the most" in why
    assert "1 with concurrency 64 gave 1,000 jobs/s, with a p99 of 80.0 ms" in why


def test_of_equals_the_smallest_is_taken():
    found = [measured(2, 16, 1000, 20.0), measured(1, 64, 1000, 20.0), measured(1, 32, 1000, 20.0)]
    assert choose(found)[0].setting == Setting(1, 32)


def test_the_edge_of_what_was_tried_is_reported():
    assert "try larger ones" in choose([measured(1, 1, 10, 5.0), measured(1, 16, 160, 5.0)])[1]


def test_the_plots_have_a_curve_for_each_number_of_processes():
    for drawing in plot([measured(1, 1, 10, 5.0), measured(1, 4, 40, 5.0), measured(2, 4, 70, 5.0)], "my.tools:wait"):
        assert "1 process<" in drawing
        assert "2 processes<" in drawing
