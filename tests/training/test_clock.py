import time

from ccafl.training.clock import Clock


def test_the_parts_of_a_run_add_up_and_a_part_within_another_counts_for_itself(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def spend(seconds):
        now[0] += seconds

    def slow():
        for item in "ab":
            spend(0.5)
            yield item

    clock = Clock()
    spend(4)
    with clock.part("evaluation"):
        spend(1)
        with clock.part("features"):
            spend(2)
        spend(1)
    for _ in clock.waiting("loading", slow()):
        spend(8)
    assert clock.taken() == {"start": 20.0, "evaluation": 2.0, "features": 2.0, "loading": 1.0}
    assert clock.taken() == {"start": 0.0}
