"""Call a command of the recipes in the process of the test, which is much faster than a process of its own."""

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from recipes import cli
from support import quick_config
from support.command_line import Result


def call(main: Callable[[Sequence[str]], object], *options: object) -> Result:
    """Run a command's main as its script does, with the options; return its status and what it printed."""
    quick_config.install()
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "unraisablehook", sys.unraisablehook),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.run(main, "command", [*map(str, options)])
        except SystemExit as end:
            status = end.code or 0
    return Result(status, out.getvalue(), err.getvalue())


def printed(main: Callable[[Sequence[str]], object], *options: object) -> str:
    """Call a command, check that it succeeds and writes nothing to stderr, and return what it printed."""
    result = call(main, *options)
    assert (result.status, result.stderr) == (0, ""), result
    return result.stdout


def refused(main: Callable[[Sequence[str]], object], *options: object) -> str:
    """Call a command, check that it fails with one line on stderr, and return that line without "COMMAND: "."""
    result = call(main, *options)
    assert result.status == 1, result
    assert result.stderr.startswith("command: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr.removeprefix("command: ").removesuffix("\n")
