"""What is used in a `with` block and let go of at its end."""

from typing import Self


class Closing:
    """Closed at the end of a `with` block; by itself it has nothing to let go of."""

    def close(self) -> None:
        """Let go of files, devices, threads and processes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()
