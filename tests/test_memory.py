"""What memory is free, and who takes it first."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cartoon.memory import PrioritySemaphore, Ticket, free_memory
from tests.waiting import PATIENCE, wait_for


def test_free_memory_is_what_the_system_says() -> None:
    assert 0 < free_memory() < 1 << 50


def test_a_semaphore_admits_by_ticket_and_gives_places_back_on_errors() -> None:
    semaphore = PrioritySemaphore(1)
    order: list[int] = []
    release = threading.Event()

    def hold() -> None:
        with semaphore.admit(Ticket()):
            assert release.wait(PATIENCE)

    def enter(number: int, ticket: Ticket) -> None:
        with semaphore.admit(ticket):
            order.append(number)
            if number == 2:
                raise ValueError

    with ThreadPoolExecutor(6) as pool:
        pool.submit(hold)
        wait_for(lambda: semaphore.free == 0)
        tickets = [Ticket(later=True), Ticket(), Ticket(later=True), Ticket()]
        entering = [pool.submit(enter, *pair) for pair in reversed(list(enumerate(tickets)))]
        wait_for(lambda: semaphore.waiting == 4)
        release.set()
    assert order == [1, 3, 0, 2]
    assert sum(future.exception() is not None for future in entering) == 1
    with semaphore.admit(Ticket()):
        pass


def test_a_semaphore_never_admits_more_than_its_places_and_keeps_the_order() -> None:
    semaphore = PrioritySemaphore(10)
    held: list[int] = []
    order: list[int] = []
    most = 0
    lock, release = threading.Lock(), threading.Event()

    def enter(number: int, places: int, ticket: Ticket) -> None:
        nonlocal most
        with semaphore.admit(ticket, places):
            with lock:
                order.append(number)
                held.append(min(places, 10))
                most = max(most, sum(held))
            release.wait(PATIENCE)
            with lock:
                held.remove(min(places, 10))

    def queued(count: int) -> bool:
        return len(order) == 1 and semaphore.waiting == count

    asked = [10, 3, 6, 25, 1, 1, 10, 4, 4, 4, 2]  # 25 of 10: that one goes alone
    with ThreadPoolExecutor(len(asked)) as pool:
        for number, places in enumerate(asked):
            pool.submit(enter, number, places, Ticket())
            wait_for(partial(queued, number))
        release.set()
    assert most <= 10
    assert [number for number in order if asked[number] >= 6] == [0, 2, 3, 6]
    assert sorted(order) == list(range(len(asked)))


def test_who_steps_aside_lets_only_those_with_smaller_tickets_go_first() -> None:
    semaphore = PrioritySemaphore(1)
    order: list[str] = []
    begun, step = threading.Event(), threading.Event()

    def long(ticket: Ticket) -> None:
        with semaphore.admit(ticket) as step_aside:
            begun.set()
            assert step.wait(PATIENCE)
            for part in range(3):
                order.append(f"part {part}")
                step_aside()

    def short(name: str, ticket: Ticket) -> None:
        with semaphore.admit(ticket):
            order.append(name)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(long, Ticket(later=True))]
        assert begun.wait(PATIENCE)
        for name, later in (("batch", True), ("page", False), ("other page", False)):
            asked.append(pool.submit(short, name, Ticket(later)))
            wait_for(lambda: semaphore.waiting == len(asked) - 1)
        step.set()
        for future in asked:
            future.result(PATIENCE)
    assert order == ["part 0", "page", "other page", "part 1", "part 2", "batch"]
    assert semaphore.free == 1
