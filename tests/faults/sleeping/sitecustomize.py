"""Sleep by `select`: under libfaketime 0.9.10 with a true monotonic clock `time.sleep` fails."""

import select
import time


def sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = sleep
