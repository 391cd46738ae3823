"""Child processes end when their parent does, and so do those that they fork."""

import os
import signal
import subprocess
import sys

import pytest
from support.places import SCRIPTS
from support.waiting import HANG, is_gone, wait_until

# A program that forks once, says who both processes are, and waits for ever.
PROGRAM = """
import os, sys, time
import multiprocessing
def work():
    os.write(1, f"forked {os.getpid()}\\n".encode())  # at once: the lines of two processes do not mix
    time.sleep(1000)
def main():
    multiprocessing.get_context("fork").Process(target=work).start()
    os.write(1, f"child {os.getpid()} {sys.argv[1:]}\\n".encode())
    time.sleep(1000)
if __name__ == "__main__":
    main()
"""
PYTHON_PARENT = (
    "from recipes import children; import subprocess; subprocess.run(children.command('program', 'an argument'))"
)
SHELL_PARENT = '"$1" "$2/recipes/children.py" $$ program "an argument" & wait'


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize(
    "parent", [[sys.executable, "-c", PYTHON_PARENT], ["bash", "-c", SHELL_PARENT, "bash", sys.executable, SCRIPTS]]
)
def test_a_child_and_what_it_forks_end_when_the_parent_is_killed_alone(parent, number, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    env = {**os.environ, "PYTHONPATH": f"{SCRIPTS}:{tmp_path}"}
    process = subprocess.Popen(parent, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path)
    assert process.stdout
    said = [process.stdout.readline().split() for _ in range(2)]
    assert sorted(words[0] for words in said) == ["child", "forked"]
    assert ["['an", "argument']"] in [words[2:] for words in said]
    running = [int(words[1]) for words in said]
    process.send_signal(number)
    process.wait()
    wait_until(lambda: all(map(is_gone, running)))


def test_a_child_whose_parent_ended_before_it_was_watched_ends(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, SCRIPTS / "recipes/children.py", "1000000000", "program"]
    result = subprocess.run(command, cwd=tmp_path, timeout=HANG, stdout=subprocess.DEVNULL, check=False)
    assert result.returncode == 1


def test_an_interrupt_at_a_fork_is_not_lost():
    program = """
import os, signal
from recipes import children
os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    with children.interrupts_wait():
        if not os.fork():
            os._exit(0)
except KeyboardInterrupt:
    print("interrupted")
"""
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    result = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=HANG)
    assert (result.stdout, result.stderr) == ("interrupted\n", "")
