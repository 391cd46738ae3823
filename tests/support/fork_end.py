"""The end of a process that was forked to run one function."""

import os
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import util
from typing import NoReturn


def end_after(function: Callable[..., object], *args: object, **options: object) -> NoReturn:
    """Call a function, and end the process as Python would, without tearing down the interpreter."""
    status = 1
    try:
        function(*args, **options)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if status and not isinstance(end.code, int):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        util._exit_function()
        threading._shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
