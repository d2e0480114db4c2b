"""One call of `pages`: fetched in the loop, consumed from a job thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from gengfu.clock import monotonic
from gengfu.errors import Stopped
from gengfu.language import tr
from gengfu.vendor.answers import AnswerKind, Expected, PageAnswer
from gengfu.vendor.http_loop import HttpLoop
from gengfu.vendor.limits import backoff, full_jitter
from gengfu.vendor.paging import Failure, Page
from gengfu.vendor.rate_limiter import RateLimiter
from gengfu.vendor.requester import FetchSpec, Requester, Response

log = logging.getLogger(__name__)

TRIES = 5
"""Calls for one page whose answers are faults."""
READ_AHEAD = 2
"""Pages fetched or under way that nobody has taken yet, per slot of the limit."""
READ_AHEAD_BYTES = 64_000_000
"""Bytes of pages that nobody has taken yet, from which on no further ones are asked for."""
WATCH_EVERY = 0.02
"""Seconds between two looks at the caller's wish to stop."""


class PageFetch:
    """Fetches pages in the order given, as many at once as the limiter allows, and hands them over as they come.

    1. `batches` in the job thread starts it; runners in the loop take one page number after the other.
    2. A page that failed and may be tried again waits for its turn apart, while the runners go on with others. When the
       budget for repeated calls is used up, it waits to the end: then others may have earned its try, or it has failed.
    3. It ends when every page is there or has failed for good; or at once, with all open calls cancelled, when the
       login is refused, when `stop` is set, when the caller no longer listens, or when the client is closed.
    """

    def __init__(
        self,
        spec: FetchSpec,
        indices: Iterable[int],
        *,
        loop: HttpLoop,
        limiter: RateLimiter,
        requester: Requester,
        ceiling: int,
        stop: threading.Event | None,
    ) -> None:
        self._spec = spec
        self._address = spec.address
        self._shape = spec.listing.paging.shape
        wanted = tuple(indices)
        self._fresh = iter(wanted)
        self._left = len(wanted)
        self._most_runners = min(ceiling, self._left)
        self._loop = loop
        self._limiter = limiter
        self._requester = requester
        self._stop = stop
        self._again: deque[int] = deque()
        self._over_budget: deque[Failure] = deque()
        self._tried: dict[int, tuple[int, int]] = {}
        self._runners: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._under_way = 0
        self._last_cause = ""
        self._is_over = False
        self._is_signalling = False
        # What the two threads share:
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._ready: list[Page | Failure] = []
        self._ready_bytes = 0
        self._error: BaseException | None = None

    # In the job thread.

    def batches(self) -> Iterator[list[Page | Failure]]:
        """Starts the fetch and yields what has arrived, as soon as there is something.

        Raises:
            GengfuError: what ended it before its time.
        """
        if not self._left:
            return
        self._loop.call_soon(self._begin)
        try:
            while True:
                self._arrived.wait()
                with self._lock:
                    self._arrived.clear()
                    batch, self._ready, self._ready_bytes = self._ready, [], 0
                    is_over, error, is_crowded = self._is_over, self._error, bool(self._waiting)
                if isinstance(error, Stopped):
                    raise error
                if is_crowded:
                    self._loop.call_soon(self._make_room)
                if batch:
                    yield batch
                if is_over:
                    break
        finally:
            self.cancel(None)
        if error is not None:
            raise error

    def cancel(self, error: BaseException | None) -> None:
        """Ends it before its time; whoever waits in `batches` is told `error`."""
        if not self._is_over:
            self._loop.call_soon(self._end, error)

    # In the loop.

    def _end(self, error: BaseException | None) -> None:
        if self._is_over:
            return
        with self._lock:
            self._is_over, self._error = True, error
        for runner in self._runners:
            runner.cancel()
        self._limiter.end()
        self._arrived.set()

    def _begin(self) -> None:
        self._requester.begin()
        self._limiter.begin()
        self._add_runner(self._start_runners())
        if self._stop is not None:
            self._watch(self._stop)

    async def _start_runners(self) -> None:
        self._loop.warn_unverified()
        await self._limiter.look_first()
        for _ in range(self._most_runners):
            self._add_runner(self._run())

    def _watch(self, stop: threading.Event) -> None:
        if stop.is_set():
            self._end(Stopped(tr("reading {listing_path} was stopped", listing_path=self._spec.listing.path)))
        elif not self._is_over:
            asyncio.get_running_loop().call_later(WATCH_EVERY, self._watch, stop)

    def _add_runner(self, work: Coroutine[Any, Any, None]) -> None:
        runner = asyncio.get_running_loop().create_task(work)
        self._runners.add(runner)
        runner.add_done_callback(self._runner_done)

    def _runner_done(self, runner: asyncio.Task[None]) -> None:
        self._runners.discard(runner)
        if runner.cancelled():
            self._end(
                Stopped(
                    tr(
                        "reading {listing_path} was cut off: the vendor client was closed",
                        listing_path=self._spec.listing.path,
                    )
                )
            )
        elif (error := runner.exception()) is not None:
            self._end(error)
        elif self._again and not self._is_over:
            # A page came back after this runner had looked for work and before it was counted out.
            self._add_runner(self._run())

    async def _run(self) -> None:
        while (index := self._next()) is not None:
            while (room := self._wait_for_room()) is not None:
                await room
            if self._limiter.is_hopeless():
                self._deliver(
                    Failure(
                        index,
                        tr(
                            "the vendor has not given one good answer of late; {last_cause}",
                            last_cause=self._last_cause,
                        ),
                        None,
                    )
                )
                continue
            expected = Expected(index, self._spec.size, index >= self._spec.check_from, self._shape)
            self._under_way += 1
            try:
                response = await self._requester.fetch(self._address(index), expected)
            finally:
                self._under_way -= 1
            self._take_answer(index, response)

    def _next(self) -> int | None:
        if self._again:
            return self._again.popleft()
        index = next(self._fresh, None)
        if index is not None:
            self._limiter.budget.earn()
            return index
        while self._over_budget:
            failure = self._over_budget.popleft()
            if self._limiter.budget.spend(monotonic()):
                self._limiter.totals.retries += 1
                return failure.index
            self._deliver(failure)
        return None

    def _wait_for_room(self) -> asyncio.Future[None] | None:
        with self._lock:
            is_full = len(self._ready) + self._under_way >= READ_AHEAD * self._limiter.limit
            if not is_full and self._ready_bytes < READ_AHEAD_BYTES:
                return None
            room = asyncio.get_running_loop().create_future()
            self._waiting.append(room)
            return room

    def _make_room(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for room in waiting:
            if not room.done():
                room.set_result(None)

    def _take_answer(self, index: int, response: Response) -> None:
        """Decides what follows from an answer: a page, another try now or later, or a failure."""
        answer = response.answer
        calls, faults = self._tried.get(index, (0, 0))
        calls += 1
        if answer.kind is AnswerKind.PAGE:
            self._tried.pop(index, None)
            self._deliver(Page(index, answer.rows, answer.total, response.took, calls, answer.more))
            return
        self._last_cause = self._sentence(index, answer)
        if answer.kind in (AnswerKind.DEAD_LOGIN, AnswerKind.THROTTLED):
            self._tried[index] = (calls, faults)
            self._again.appendleft(index)
            return
        self._tried[index] = (calls, faults + 1)
        failure = Failure(index, self._last_cause, answer.status)
        if answer.kind is AnswerKind.REJECTED or faults + 1 >= TRIES:
            self._deliver(failure)
            return
        if not self._limiter.budget.spend(monotonic()):
            self._over_budget.append(failure)
            return
        self._limiter.totals.retries += 1
        pause = full_jitter(backoff(faults + 1))
        log.info("a page is asked again", extra={"page": index, "cause": self._last_cause, "pause": round(pause, 2)})
        asyncio.get_running_loop().call_later(pause, self._try_again, index)

    def _sentence(self, index: int, answer: PageAnswer) -> str:
        return tr("GET {address} {answer.why}", address=self._address(index), answer=answer)

    def _try_again(self, index: int) -> None:
        if self._is_over:
            return
        self._again.append(index)
        if len(self._runners) < self._most_runners:
            self._add_runner(self._run())

    def _deliver(self, result: Page | Failure) -> None:
        self._left -= 1
        with self._lock:
            self._ready.append(result)
            self._ready_bytes += sum(map(len, result.rows)) if isinstance(result, Page) else 0
        if self._left == 0:
            self._end(None)
        elif not self._is_signalling:
            # Answers that came in the same moment are handed over together.
            self._is_signalling = True
            asyncio.get_running_loop().call_soon(self._signal)

    def _signal(self) -> None:
        self._is_signalling = False
        self._arrived.set()
