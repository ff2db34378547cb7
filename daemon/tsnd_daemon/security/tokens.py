"""Bearer tokens: what a file says of them, and whose a presented one is.

The file has SHA-256 hashes, so whoever reads it cannot call with it. A plain hash will do:
tokens are 256 random bits, which nobody can try out.
"""

import hashlib
import hmac
import secrets
import tomllib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from tsnd_daemon.errors import SettingsError

_RANDOM_BYTES = 32


class Right(StrEnum):
    """What a token may do beside having snippets scored."""

    ADMIN = "admin"
    """Load and unload models."""
    SHARED_MEMORY = "shared_memory"
    """Let the daemon read and write shared memory of this host."""


class Token(BaseModel):
    """What is known of one token.

    Attributes:
        sha256: Of the token's characters, in hexadecimal.
        rights: What it may do beside scoring.
        models: The models and pairs it may use, by name; None is all.
        max_streams: Most streams that it may have open; None is without limit of its own.
        max_in_flight: Most of its snippets that may be unanswered; likewise.
        expires: From when on it is not valid any more; None is never.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    rights: frozenset[Right] = frozenset()
    models: frozenset[str] | None = None
    max_streams: PositiveInt | None = None
    max_in_flight: PositiveInt | None = None
    expires: AwareDatetime | None = None

    def is_valid_at(self, now: datetime) -> bool:
        """Say whether it has not expired; `now` has a time zone."""
        return self.expires is None or now < self.expires


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: Annotated[dict[str, Token], Field(min_length=1)]


Tokens = Mapping[str, Token]
"""The tokens of a file, by name."""


def digest_of(secret: str) -> str:
    """Hash a token as the file has it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def find_name(tokens: Tokens, secret: str) -> str | None:
    """Return the name of the token that was presented; None when there is no such token.

    The time it takes tells nothing of the secret, nor of which token it is: the hash is
    compared with every token's, in constant time.
    """
    digest = digest_of(secret)
    found = None
    for name, token in tokens.items():
        if hmac.compare_digest(digest, token.sha256):
            found = name
    return found


def parse_tokens(text: str) -> Tokens:
    """Read what a file of tokens says.

    Args:
        text: TOML with a table [tokens.NAME] for each, of the attributes of `Token`.

    Raises:
        SettingsError: When it is no such text; the message says where and what was expected.
    """
    try:
        tokens = TypeAdapter(_File).validate_python(tomllib.loads(text)).tokens
    except tomllib.TOMLDecodeError as err:
        raise SettingsError(f"not valid TOML: {err}") from err
    except ValidationError as err:
        raise SettingsError("; ".join(map(_describe, err.errors(include_url=False)))) from None
    names: dict[str, str] = {}
    for name, token in tokens.items():
        if other := names.get(token.sha256):
            raise SettingsError(f"tokens {other!r} and {name!r} have one hash: make another")
        names[token.sha256] = name
    return tokens


def load_tokens(path: Path) -> Tokens:
    """Read a file of tokens; raises SettingsError."""
    try:
        return parse_tokens(path.read_text())
    except OSError as err:
        raise SettingsError(f"--tokens {path}: {err.strerror}") from err
    except (SettingsError, UnicodeDecodeError) as err:
        raise SettingsError(
            f"--tokens {path}: {err}. `tsnd token new NAME` prints a table as it should be."
        ) from err


def new_token() -> str:
    """Make a token of 256 random bits."""
    return f"tsnd_{secrets.token_urlsafe(_RANDOM_BYTES)}"


def to_table(name: str, secret: str) -> str:
    """Write the table of a file that lets a token in; its rights are left to be added."""
    return f'[tokens.{_quoted(name)}]\nsha256 = "{digest_of(secret)}"\n'


def _quoted(name: str) -> str:
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if is_bare else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _describe(error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails, a loose dict
    where = ".".join(str(part) for part in error["loc"] if part != "[key]")
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such key"
    if error["type"] == "missing":
        return f"{where} is missing"
    # What came is not repeated: it could be a token that was written here by mistake.
    return f"{where}: {error['msg']}"
