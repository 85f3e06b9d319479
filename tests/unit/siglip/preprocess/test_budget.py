"""Threads that decode under one budget never hold more than it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from siglip_ingest.errors import ImageError, InvalidInputError
from siglip_ingest.siglip.preprocess.budget import PixelBudget
from siglip_ingest.siglip.preprocess.decode import hold_decoded_image
from tests.images import encode, make_image

CONTENT = encode(make_image(60, 40), "PNG")


def wait_until(is_true: object) -> None:
    deadline = time.monotonic() + 10
    while not is_true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Meter:
    """Counts the pixels that are held at one time, apart from the budget's own counting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.peak = self.images = self.most_images = 0

    def add(self, pixels: int) -> None:
        with self._lock:
            self.now += pixels
            self.images += 1 if pixels > 0 else -1
            self.peak, self.most_images = max(self.peak, self.now), max(self.most_images, self.images)


def test_threads_hold_no_more_than_the_budget_and_nearly_all_of_it() -> None:
    budget, meter = PixelBudget(1000), Meter()
    sizes = [int(size) for size in np.random.default_rng(0).integers(1, 600, 200)]

    def work(pixels: int) -> None:
        with budget.hold(pixels):
            meter.add(pixels)
            assert budget.held_pixels <= 1000
            time.sleep(0.0005)
            meter.add(-pixels)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, sizes))
    assert 700 < meter.peak <= 1000
    assert meter.most_images > 1
    assert budget.held_pixels == 0


def test_decoding_threads_hold_no_more_than_the_budget() -> None:
    budget, meter = PixelBudget(3 * 2400), Meter()

    def prepare(content: bytes) -> None:
        with hold_decoded_image(content, max_image_pixels=10**6, budget=budget) as decoded:
            meter.add(decoded.width * decoded.height)
            time.sleep(0.002)
            meter.add(-decoded.width * decoded.height)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(prepare, [CONTENT] * 40))
    assert meter.peak == 3 * 2400
    assert budget.held_pixels == 0


def test_the_budget_is_waited_for_before_pixels_are_decoded() -> None:
    budget = PixelBudget(2400)
    decoded = threading.Event()

    def prepare() -> None:
        with hold_decoded_image(CONTENT, max_image_pixels=10**6, budget=budget):
            decoded.set()

    thread = threading.Thread(target=prepare)
    with budget.hold(1):
        thread.start()
        assert not decoded.wait(0.2)
    assert decoded.wait(10)
    thread.join()


def test_an_image_larger_than_the_budget_goes_alone() -> None:
    budget = PixelBudget(100)
    entered = threading.Event()
    with budget.hold(1_000_000):
        thread = threading.Thread(target=lambda: [entered.set() for _ in [0] if budget.hold(1).__enter__() is None])
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(10)
    thread.join()


def test_first_come_first_served() -> None:
    budget, order = PixelBudget(100), []

    def work(name: str, pixels: int) -> None:
        with budget.hold(pixels):
            order.append(name)

    threads = []
    with budget.hold(50):
        for number, (name, pixels) in enumerate([("large", 100), ("small", 1), ("smaller", 1)], 1):
            threads.append(threading.Thread(target=work, args=(name, pixels)))
            threads[-1].start()
            wait_until(lambda number=number: len(budget._waiting) == number)
        assert order == []  # the small ones would fit, and wait behind the large one
    for thread in threads:
        thread.join()
    assert order[0] == "large"
    assert sorted(order) == ["large", "small", "smaller"]


def test_an_image_that_fails_gives_its_place_back() -> None:
    budget = PixelBudget(10_000)
    with pytest.raises(ImageError), hold_decoded_image(CONTENT[:3000], max_image_pixels=10**6, budget=budget):
        pass
    with pytest.raises(ZeroDivisionError), budget.hold(5):
        raise ZeroDivisionError
    assert budget.held_pixels == 0


def test_an_image_over_the_limit_is_refused_without_waiting() -> None:
    budget = PixelBudget(1)
    with budget.hold(1), pytest.raises(ImageError) as caught:
        hold_decoded_image(CONTENT, max_image_pixels=10, budget=budget).__enter__()
    assert caught.value.code == "too_large"


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least 1"):
        PixelBudget(0)
