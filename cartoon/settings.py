"""What the process was told once, by variables and flags."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cartoon.assets import CHECKOUT

# Read by torch at its first allocation. A pass takes and returns hundreds of megabytes; in pages of 2 MB instead of
# 4 kB Linux hands them out several times as fast (pytorch/pytorch#107697).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


class Settings(BaseSettings):
    """Process-wide settings, read once from CARTOON_* variables and overridden by flags.

    This class is the only reader of the environment.
    """

    # Without the inputs: a refused password must not stand in a traceback.
    model_config = SettingsConfigDict(env_prefix="CARTOON_", frozen=True, hide_input_in_errors=True)

    host: str = Field(default_factory=lambda: _default_host())
    """This machine only, except in a Hugging Face Space, whose proxy comes from outside the container."""
    port: int = 7860
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    max_pixels: int = 100_000_000
    """A picture with more pixels than this is refused before it is decoded."""
    max_upload_mb: int = 64
    max_queue: int = 64
    """Requests that may wait for the pipeline before further ones are turned away."""
    data_dir: Path | None = Field(default_factory=lambda: _user_folder())
    """Where the server keeps jobs, uploads and results; None, or where it cannot be written: a temporary folder."""
    keep_days: float = Field(default=7.0, ge=0)
    """How long jobs of the server are kept after they came to an end; unfinished ones are kept."""
    max_job_mb: int = 4096
    """The largest upload of a job: all of its photos, or its zip. `max_upload_mb` holds for each picture."""
    cluster_cores: int = Field(default=2, ge=1)
    """Cores that each stylizer of a Ray cluster without GPUs takes."""
    styles_dir: Path = Field(default_factory=lambda: STYLES_DIR)
    """The folder whose style files are offered beside the shipped styles; read again when it changes."""
    log: Literal["text", "json"] = "text"
    """How the server's log lines look."""

    # Who may come in. Lists are written with commas between.
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names, `name` or `name:port`, that it is reached by beside loopback names, IP addresses and a Space's own."""
    frame_ancestors: Annotated[tuple[str, ...], NoDecode] = Field(default_factory=lambda: _default_ancestors())
    """Origins whose pages may frame ours, as in Content-Security-Policy's frame-ancestors; none outside a Space."""
    trusted_proxies: str = Field(default_factory=lambda: "*" if in_space() else "127.0.0.1")
    """Addresses, with commas between, whose X-Forwarded-For and X-Forwarded-Proto are believed; * for all."""
    password: SecretStr | None = None
    """What the page asks for; None leaves it open."""
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """What REST asks for as `Authorization: Bearer KEY`; none leaves it open."""

    # What one visitor may take, and all together.
    visitor_mb: int = Field(default=20_480, ge=1)
    """Uploads and jobs that a visitor may have on the server's disk; four times that from one address."""
    visitor_jobs: int = Field(default=50, ge=1)
    """Unfinished jobs of a visitor; four times that from one address."""
    visitor_requests: int = Field(default=600, ge=1)
    """Uploads, drawings and jobs that a visitor may ask for in a minute; four times that from one address."""
    max_connections: int = Field(default=512, ge=8)
    """Open at once; fewer where the system allows fewer descriptors. Five sixths of them from one address."""
    max_pixels_under_way: int = Field(default=120_000_000, ge=1)
    """Of the pictures that are being decoded; a larger one is decoded alone, the others wait."""

    @field_validator("allowed_hosts", "frame_ancestors", "api_keys", mode="before")
    @classmethod
    def _listed(cls, told: Any) -> Any:
        parts = [told] if isinstance(told, str) else told
        if not all(isinstance(part, str) for part in parts):
            return told
        return tuple(one.strip() for part in parts for one in part.split(",") if one.strip())

    @field_validator("password", mode="before")
    @classmethod
    def _no_empty_password(cls, told: Any) -> Any:
        return told or None  # an empty variable is how Docker and Spaces say "not set"

    @property
    def space_host(self) -> str:
        """The name that a Hugging Face Space is reached by; "" outside of one."""
        return os.environ.get("SPACE_HOST", "") if in_space() else ""


def in_space() -> bool:
    """Whether this runs in a Hugging Face Space, which sets SPACE_ID."""
    return bool(os.environ.get("SPACE_ID"))


def _default_host() -> str:
    return "0.0.0.0" if in_space() else "127.0.0.1"


def _default_ancestors() -> tuple[str, ...]:
    return ("https://huggingface.co", "https://*.hf.space") if in_space() else ()


def styles_dir_of(checkout: Path | None) -> Path:
    """Where a user's own styles lie: in the checkout, from wherever it is run; installed, in the user's data folder.

    A user without a home has them beside the installation.
    """
    if checkout:
        return checkout / "styles"
    return (_user_folder() or Path(sys.prefix) / "share" / "cartoon") / "styles"


def _user_folder() -> Path | None:
    """By the XDG Base Directory Specification 0.8, which has relative paths ignored; None for a user without a home."""
    told = Path(os.environ.get("XDG_DATA_HOME", ""))
    if told.is_absolute():
        return told / "cartoon"
    try:
        return Path.home() / ".local" / "share" / "cartoon"
    except RuntimeError:
        return None


STYLES_DIR: Final[Path] = styles_dir_of(CHECKOUT)
"""Where they lie unless CARTOON_STYLES_DIR says otherwise."""
