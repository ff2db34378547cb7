"""How the process of `tsnd` begins."""

import subprocess
import sys

REPORT = """
import sys
import tsnd_daemon.__main__
print(sorted({"grpc", "uvloop", "numpy"} & set(sys.modules)))
"""

INTERRUPTED = """
import sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from tsnd_daemon.__main__ import main
sys.exit(main([]))
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_nothing_is_imported_before_the_process_is_ready_for_it():
    assert run(REPORT).stdout == "[]\n"


def test_an_interrupt_while_the_daemon_is_imported_ends_it_without_a_traceback():
    process = run(INTERRUPTED)

    assert (process.returncode, process.stderr) == (130, "")
