# SPDX-License-Identifier: Apache-2.0
"""The one thread that runs the model.

Loading, warm-up, steps and freeing all happen here, never in the executor: OpenMP and CUDA keep
state per thread, and callbacks must not wait for a model.  Knows neither ROS nor models.
"""
from collections.abc import Callable
from concurrent.futures import Future, wait
import threading
import traceback
from typing import Any

Step = Callable[[], None]
PAUSE = 0.05  # seconds; keeps a step that fails at once from spinning


class Worker:
    """Runs jobs one after the other and, between them, one repeated step.

    Args:
        name: of the thread.
        on_error: called on this thread with what a step raised; the loop goes on.

    Attributes:
        wake: makes a blocking step return early.
    """

    def __init__(self, name: str, on_error: Callable[[BaseException], None]):
        """Start the thread; it idles until it gets a job or a step."""
        self.wake: Callable[[], None] = lambda: None
        self._on_error = on_error
        self._condition = threading.Condition()
        self._jobs: list[tuple[Future[Any], Callable[[], Any]]] = []
        self._step: Step | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def call(self, job: Callable[[], Any], timeout: float | None = None) -> Any:
        """Run ``job`` on the thread and return its result, or raise what it raised.

        Raises:
            TimeoutError: it has not run within ``timeout`` seconds; it runs when its turn comes.
        """
        future: Future[Any] = Future()
        with self._condition:
            if self._closed:
                raise RuntimeError('the inference thread has ended')
            self._jobs.append((future, job))
            self._condition.notify()
        self.wake()
        if not wait([future], timeout).done:
            raise TimeoutError(f'the inference thread is busy for more than {timeout} s')
        return future.result()

    def repeat(self, step: Step | None) -> None:
        """Run ``step`` again and again (it blocks until there is work); None = idle."""
        with self._condition:
            self._step = step
            self._condition.notify()
        self.wake()

    def close(self, timeout: float | None = None) -> None:
        """End the thread after the jobs and the step in progress; wait for it up to ``timeout``.

        Later it ends by itself, when they return.
        """
        with self._condition:
            self._closed = True
            self._step = None
            self._condition.notify()
        self.wake()
        self._thread.join(timeout)

    def _failed(self, error: BaseException) -> None:
        """Tell about a failed step; whatever the teller does, the thread lives on."""
        try:
            self._on_error(error)
        except BaseException:
            traceback.print_exc()
        threading.Event().wait(PAUSE)

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._jobs or self._step or self._closed)
                if self._jobs:
                    future, job = self._jobs.pop(0)
                elif self._closed:
                    return
                else:
                    future, job = None, self._step
            if future is None:
                try:
                    job()
                except BaseException as error:  # of a library in another language, too
                    self._failed(error)
            else:
                try:
                    future.set_result(job())
                except BaseException as error:
                    future.set_exception(error)
