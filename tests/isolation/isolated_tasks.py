"""Tasks that tests run in the child process: well-behaved, faulty and hostile ones."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time

import numpy as np

from nla.errors import MissingExtraError, ModelError


def echo(arguments, arrays, report):
    report({"phase": "echoing", "done": 1})
    return {"given": arguments, "writeable": [a.flags.writeable for a in arrays.values()]}, dict(arrays)


def surroundings(arguments, arrays, report):
    return {
        "json": json.__file__,
        "pid": os.getpid(),
        "telemetry": os.environ.get("ORT_DISABLE_TELEMETRY"),
        "extra": os.environ.get("EXTRA"),
        "session": os.getsid(0) == os.getpid(),
        "path": sys.path,
        "nla": sys.modules["nla"].__file__,
    }, {}


def model_error(arguments, arrays, report):
    raise ModelError("model.onnx: no such tensor")


def missing_extra(arguments, arrays, report):
    raise MissingExtraError("reading images", "images")


def defect(arguments, arrays, report):
    return {}[arguments["key"]]


def kill(arguments, arrays, report):
    report({"phase": "creating the session"})
    os.kill(os.getpid(), signal.Signals[arguments["signal"]])
    time.sleep(60)


def segfault(arguments, arrays, report):
    report({"phase": "running the model"})
    ctypes.string_at(0)


def hang(arguments, arrays, report):
    report({"phase": "creating the session"})
    threading.Event().wait()


def slow_with_progress(arguments, arrays, report):
    for step in range(arguments["steps"]):
        time.sleep(arguments["pause"])
        report({"phase": "replaying", "step": step})
    return {"steps": arguments["steps"]}, {}


def allocate_at_once(arguments, arrays, report):
    report({"phase": "running the model"})
    return {"sum": float(np.zeros(arguments["bytes"], np.uint8).sum())}, {}


def allocate_bit_by_bit(arguments, arrays, report):
    report({"phase": "running the model"})
    held = []
    while True:
        held.append(np.ones(1 << 20, np.float64))
        time.sleep(0.001)


def wrapped_out_of_memory(arguments, arrays, report):
    try:
        raise RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 4294967296")
    except RuntimeError as error:
        raise ModelError("onnxruntime failed") from error


def mapped_file(arguments, arrays, report):
    data = np.memmap(arguments["path"], np.uint8, "r")
    return {"sum": int(data[:: 1 << 12].sum())}, {}


def noisy(arguments, arrays, report):
    for _ in range(2000):
        os.write(2, b"\x1b[31mW: warning of a library\n" * 100)
    print("standard output", flush=True)
    return {"done": True}, {}


def wordless_exit(arguments, arrays, report):
    os.write(2, b"last words")
    os._exit(3)


def garbage(arguments, arrays, report):
    for descriptor in sorted(int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2):
        try:
            os.write(descriptor, b"\xff" * 64)
        except OSError:
            continue
    time.sleep(60)


def not_json(arguments, arrays, report):
    return {"value": object()}, {}


def objects(arguments, arrays, report):
    return {}, {"bad": np.array([object()])}


def write_pid_and_sleep(arguments, arrays, report):
    with open(arguments["path"], "w") as file:
        file.write(str(os.getpid()))
    report({"phase": "sleeping"})
    time.sleep(300)


def open_session(arguments, arrays, report):
    """A session on a hostile model, created and, where asked, run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    report({"phase": "creating the session"})
    session = onnxruntime.InferenceSession(arguments["path"], options)
    report({"phase": "running the model"})
    session.run(None, dict(arrays))
    return {"done": True}, {}
