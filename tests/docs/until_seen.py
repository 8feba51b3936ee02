"""`lmopt dashboard` until its page was seen, then Ctrl-C: `python -m tests.docs.until_seen …`."""

import re
import signal
import subprocess
import sys
import urllib.request


def main(arguments: list[str]) -> int:
    """Run the command on any free port; return its exit code."""
    # Started in the background of a script, this process would hand on that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-P", "-u", "-m", "sweeps.cli", *arguments]
    process = subprocess.Popen(
        [*command, "--port", "0", "--no-browser"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        url = re.search(r"http://[\w.:/]+", line)
        assert url is not None, line
        with urllib.request.urlopen(url[0], timeout=60) as page:
            assert b"<title>Optuna Dashboard</title>" in page.read()
    finally:
        process.send_signal(signal.SIGINT)
    print(line + process.communicate(timeout=60)[0], end="")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
