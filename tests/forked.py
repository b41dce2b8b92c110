"""Commands in processes that have imported Keras before they begin.

An interpreter takes seconds to import TensorFlow, and tests start many. Here
one does so, and every command is a fork of it. What a command prints while it
imports is for tests that start an interpreter of their own.
"""

import multiprocessing
import os
import pathlib
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["nc_keras.public", "tests.forked"])


class Forked:
    """What `subprocess.Popen` is for a command: Python with these words.

    Args:
        *words: As after `python`: `-m`, a module and its arguments, or a file
            and its arguments.
        cwd: The folder to run in.
        env: Dictionary, the environment. It cannot choose another backend
            than that of these tests.
        stderr: `subprocess.STDOUT`, if errors go where output goes.
    """

    def __init__(self, *words, cwd=None, env=None, stderr=None):
        folder = pathlib.Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        names = ("out", "out" if stderr == subprocess.STDOUT else "err")
        self._paths = [folder / name for name in names]
        self._process = _FORKS.Process(
            target=_run,
            args=(
                [str(word) for word in words],
                os.fspath(cwd or os.getcwd()),
                dict(os.environ if env is None else env),
                [str(path) for path in self._paths],
            ),
        )
        self._process.start()

    @property
    def returncode(self):
        return self._process.exitcode

    @property
    def pid(self):
        return self._process.pid

    def poll(self):
        return self._process.exitcode

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def kill(self):
        self._process.kill()

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a fork", timeout)
        return self._process.exitcode

    def communicate(self, timeout=None):
        self.wait(timeout)
        texts = {path: path.read_text("utf-8") for path in self._paths}
        output, *errors = texts.values()
        return output, *(errors or [None])


def run(*words, timeout=300, **options):
    """Runs a command to its end, and returns what `subprocess.run` does."""
    process = Forked(*words, **options)
    try:
        output, errors = process.communicate(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(
        words, process.returncode, output, errors
    )


def _run(words, cwd, env, paths):
    for number, path in zip((1, 2), paths, strict=True):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(path, flags), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    module = words[1] if words[0] == "-m" else None
    sys.argv = words[2:] if module else words
    if module:
        sys.argv = [module, *sys.argv]
        sys.path[0] = cwd
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(words[0]))
        sys.path.extend(filter(None, env.get("PYTHONPATH", "").split(":")))
        runpy.run_path(words[0], run_name="__main__")
