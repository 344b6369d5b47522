"""The clock of comparisons, with timers that take made-up times."""

from hetconv import clock


def noted(calls, name, milliseconds):
    def timer(count):
        calls.append((name, count))
        return milliseconds

    return timer


def test_each_has_its_turn_in_every_round_and_samples_last_alike():
    calls = []
    timers = {"slow": noted(calls, "slow", 20.0), "fast": noted(calls, "fast", 0.5)}
    times = clock.times_in_turns(timers, 3, sample_ms=10)
    assert times == {"slow": [20.0] * 3, "fast": [0.5] * 3}
    warm = [("slow", 1)] * clock.WARMUP_CALLS + [("fast", 1)] * clock.WARMUP_CALLS
    assert calls == warm + [("slow", 1), ("fast", 20)] * 3  # 20 calls of 0.5 ms are a sample of 10 ms


def test_fewer_rounds_are_enough_when_the_time_is_over():
    times = clock.times_in_turns({"a": lambda count: 1.0}, 9, enough_rounds=4, longest_seconds=-1)
    assert len(times["a"]) == 4


def test_medians():
    assert clock.medians({"a": [3.0, 1.0, 2.0], "b": [4.0]}) == {"a": 2.0, "b": 4.0}


def test_the_wall_clock_counts_the_calls_and_waits_once():
    calls = []
    milliseconds = clock.wall(calls.append, "called", wait=lambda: calls.append("waited"))(3)
    assert calls == ["called"] * 3 + ["waited"]
    assert milliseconds > 0


def test_the_warm_up_of_slow_calls_ends_when_the_time_is_over():
    calls = []
    clock.times_in_turns({"slow": noted(calls, "slow", 9e4)}, 9, enough_rounds=2, longest_seconds=-1)
    assert calls == [("slow", 1)] * (1 + 2)


def test_spread_is_the_distance_of_quartiles_over_the_median():
    assert clock.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == (4 - 2) / 3
    assert clock.spread([7.0] * 4) == clock.spread([7.0]) == 0


def test_a_calm_measurement_is_taken_as_it_is():
    assert clock.calmer_times(iter([{"a": [1.0, 1.0, 1.1]}]).__next__) == ({"a": [1.0, 1.0, 1.1]}, 1)


def test_a_noisy_one_is_measured_again_and_the_calmer_is_kept():
    noisy, calmer = {"a": [1.0, 1.0], "b": [1.0, 9.0]}, {"a": [1.0, 2.0], "b": [1.0, 2.0]}
    assert clock.calmer_times(iter([noisy, calmer]).__next__) == (calmer, 2)
    assert clock.calmer_times(iter([calmer, noisy]).__next__) == (calmer, 2)


def test_rounds_agree_where_the_same_is_faster_in_three_quarters_of_them():
    assert clock.agree([1.0, 1.0, 1.0, 3.0], [2.0, 2.0, 2.0, 2.0])
    assert clock.agree([3.0, 3.0, 3.0, 1.0], [2.0, 2.0, 2.0, 2.0])
    assert not clock.agree([1.0, 1.0, 3.0, 3.0], [2.0, 2.0, 2.0, 2.0])
