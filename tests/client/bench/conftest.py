import pytest

from tsnd_client.cli import main


@pytest.fixture
def bench(serve):
    """Run a short `tsn bench` on a toy daemon: bench(*more_arguments, stream=...)."""

    def run(*arguments, model="toy-rgb", **handler):
        target = serve(**handler).target
        short = ["--warm-up-s", "0", "--duration-s", "0.3", "--drain-s", "1"]
        return main(["bench", "--model", model, "--target", target, *short, *arguments])

    return run
