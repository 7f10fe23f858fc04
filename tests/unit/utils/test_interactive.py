"""Interactive execution: detection in a kernel, live figures, progress without a terminal."""

import sys

from jupyter_client.manager import start_new_kernel

from hbac_utils.plots.style import new_figure
from hbac_utils.utils import interactive
from hbac_utils.utils.interactive import LiveFigure, prints_errors, progress


def test_a_kernel_is_live_only_for_a_front_end_with_a_user():
    manager, client = start_new_kernel(kernel_name="python3")
    printed = []
    try:
        for allow_stdin in (True, False):
            client.execute_interactive(
                "from hbac_utils.utils.interactive import is_live\nprint(is_live())",
                allow_stdin=allow_stdin,
                stdin_hook=print,
                output_hook=lambda message: printed.append(message["content"].get("text")),
                timeout=60,
            )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert [text.strip() for text in printed if text] == ["True", "False"]


def test_a_live_figure_takes_a_twentieth_of_the_time(monkeypatch):
    clock, drawn = [100.0], []

    def draw(data):
        clock[0] += 1  # drawing takes a second
        drawn.append(data)
        return new_figure(1.0)

    monkeypatch.setattr(interactive.time, "monotonic", lambda: clock[0])
    figure = LiveFigure(draw)
    figure("not live")
    assert drawn == []
    monkeypatch.setattr(interactive, "is_live", lambda: True)
    for now in (200, 205, 222, 230):
        clock[0] = max(clock[0], now)
        figure(now)
    assert drawn == [200, 222]  # 20 s without drawing after each second of it


def test_a_figure_that_fails_is_reported_and_not_raised(capsys):
    draw = prints_errors(divmod)
    assert draw(7, 2) == (3, 1)
    assert draw(7, 0) is None
    assert capsys.readouterr().out.startswith("divmod: not drawn: ZeroDivisionError:")


def test_progress_is_a_line_every_tenth_unless_somebody_looks(monkeypatch, capsys):
    assert list(progress(range(5000), 5000, "pack")) == [*range(5000)]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "pack: 10 % (500 of 5,000)"
    assert lines[-1] == "pack: 100 % (5,000 of 5,000)"
    assert len(lines) == 10

    sizes = [20, 30, 0, 10]
    assert list(progress(sizes, 100, "pack", done=40, size=int)) == sizes
    assert capsys.readouterr().err.split("pack: ")[1:] == [
        "60 % (60 of 100)\n", "90 % (90 of 100)\n", "100 % (100 of 100)\n"
    ]  # fmt: skip
    assert list(progress("ab", 2, "pack", show=False)) == ["a", "b"]
    assert not capsys.readouterr().err

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    list(progress("ab", 2, "pack"))
    assert "2/2" in capsys.readouterr().err
