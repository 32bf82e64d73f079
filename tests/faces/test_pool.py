"""Things that serve one thread at a time, lent to many."""

import threading

import pytest

from cartoon.faces.pool import Pool
from tests.waiting import PATIENCE


def test_each_is_lent_to_one_at_a_time_and_whoever_finds_none_waits() -> None:
    made = iter("ab")
    pool = Pool(lambda: next(made), 2)
    holding, most = set(), []
    lock, together = threading.Lock(), threading.Barrier(2)

    def work(number: int) -> None:
        with pool.one() as thing:
            with lock:
                assert thing not in holding
                holding.add(thing)
                most.append(len(holding))
            if number < 2:
                together.wait(PATIENCE)  # passes only when both are lent at the same time
            with lock:
                holding.remove(thing)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(most) == 8
    assert max(most) == 2


def test_one_alone_gets_the_same_again_also_after_an_error() -> None:
    pool = Pool(iter("ab").__next__, 2)
    with pytest.raises(ValueError), pool.one() as first:  # noqa: PT011
        raise ValueError
    with pool.one() as second:
        assert second == first


def test_closing_waits_for_what_is_lent() -> None:
    pool = Pool(iter("ab").__next__, 2)
    closed: list[str] = []
    lent, back = threading.Event(), threading.Event()

    def work() -> None:
        with pool.one():
            lent.set()
            back.wait(PATIENCE)
            assert closed == []

    borrower = threading.Thread(target=work)
    borrower.start()
    lent.wait(PATIENCE)
    closer = threading.Thread(target=pool.close, args=(closed.append,))
    closer.start()
    closer.join(0.1)
    assert closer.is_alive()
    back.set()
    closer.join(PATIENCE)
    borrower.join(PATIENCE)
    assert sorted(closed) == ["a", "b"]
    with pytest.raises(RuntimeError, match="closed"), pool.one():
        pass
