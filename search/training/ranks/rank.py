"""A process that trains a worker's trials on one of their devices: one line of JSON on standard input is one trial.

The worker keeps the other end of standard input open: when it closes, the process leaves at once, in whatever it is.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any, TextIO

from kirigami.search.training.loading import quickly

Orders = queue.SimpleQueue[dict[str, Any]]


def main() -> None:
    """Train one trial after the other until standard input closes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they reach the supervisor too, and this process leaves with its worker
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    orders: Orders = queue.SimpleQueue()
    threading.Thread(target=_read, args=(orders,), daemon=True).start()
    while True:
        try:
            _train(orders.get(), orders, answers)
        except BaseException as error:
            traceback.print_exception(error)
            _say(answers, {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
            sys.stderr.flush()
            os._exit(1)  # the others are waiting: our connections have to close
        _say(answers, {"ended": True})


def _train(order: dict[str, Any], orders: Orders, answers: TextIO) -> None:
    """Train one trial as `trial.train` does, but for what is measured and told."""
    with quickly():
        from kirigami.search.training.ranks.follow import follow

    follow(order, orders.get, lambda: _say(answers, {"ready": True}))


def _read(orders: Orders) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(0)


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
