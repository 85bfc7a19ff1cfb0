import subprocess
import sys

PROGRAM = """
import resource
from isthmus.lib.files import allow_many_files
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
allow_many_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_as_many_files_are_allowed_as_may_be() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["4096", "4096"]
