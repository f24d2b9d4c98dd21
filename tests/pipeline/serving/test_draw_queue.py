"""The queue before the drawing thread: shared batches, a bound, cancelled and failed jobs."""

import threading

import pytest

from pipeline.serving.draw_queue import DrawQueue, Job, QueueClosed, QueueFull


class Hand:
    """Draws when it is told to, and notes what it drew together."""

    def __init__(self):
        self.go, self.calls = threading.Semaphore(0), []

    def __call__(self, rows, key):
        self.calls.append((list(rows), key))
        assert self.go.acquire(timeout=20)
        if "bad" in rows:
            raise ValueError("cannot draw that")
        return [f"{row}!" for row in rows]


@pytest.fixture
def hand():
    return Hand()


def held(hand: Hand, **settings) -> DrawQueue:
    """Return a queue whose thread is busy with a first job."""
    queue = DrawQueue(hand, **settings)
    queue.submit(Job(["first"], key="x"))
    while not hand.calls:
        pass
    return queue


def test_jobs_of_one_key_share_a_batch_in_their_order(hand):
    queue = held(hand, batch=4)
    jobs = [Job(["a", "b"], key="x"), Job(["c"], key="y"), Job(["d"], key="x"), Job(["e"] * 9, "x")]
    results = [queue.submit(job) for job in jobs]
    hand.go.release(9)
    assert [result.result(20) for result in results] == [["a!", "b!"], ["c!"], ["d!"], ["e!"] * 9]
    assert hand.calls[1:] == [(["a", "b", "d"], "x"), (["c"], "y"), (["e"] * 9, "x")]
    alone = queue.submit(Job(["f"], alone=lambda: "drawn alone"))
    assert alone.result(20) == "drawn alone"
    queue.close()
    with pytest.raises(QueueClosed):
        queue.submit(Job(["g"], key="x"))


def test_the_queue_is_bounded_and_a_cancelled_job_is_not_drawn(hand):
    queue = held(hand, capacity=3)
    waits, gone = queue.submit(Job(["a", "b"], key="x")), queue.submit(Job(["c"], key="y"))
    with pytest.raises(QueueFull):
        queue.submit(Job(["d"], key="x"))
    assert queue.waiting == 3
    assert gone.cancel()
    hand.go.release(9)
    assert waits.result(20) == ["a!", "b!"]
    queue.close()
    assert ["c"] not in [rows for rows, _ in hand.calls]


def test_an_error_reaches_its_callers_and_the_next_is_drawn(hand):
    queue = held(hand)
    bad = [queue.submit(Job(["bad"], key="x")), queue.submit(Job(["with it"], key="x"))]
    good = queue.submit(Job(["good"], key="y"))
    hand.go.release(9)
    for result in bad:
        with pytest.raises(ValueError, match="cannot draw that"):
            result.result(20)
    assert good.result(20) == ["good!"]
    queue.close()
