"""The settings of a run: one frozen tree, one section per part, each value with its meaning.

A setting that may be absent (None) has None as its default, so that a tree written as TOML reads
back equal.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import TypeAliasType

OptionValue = TypeAliasType(
    "OptionValue", "bool | int | float | str | list[OptionValue] | dict[str, OptionValue]"
)
_SECRET = re.compile(r"(api_?key|secret|password|(?<![a-z])token)$", re.IGNORECASE)


def _without_secrets(options: dict[str, OptionValue]) -> dict[str, OptionValue]:
    for key in options:
        if _SECRET.search(key):
            raise ValueError(
                f"{key!r} looks like a secret, and settings are written into the run directory; "
                "set it as an environment variable instead (such as OPENAI_API_KEY)"
            )
    return options


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:  # ~user without such a user
        raise ValueError(f"{error} Give the path without '~'") from None


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Options = Annotated[dict[str, OptionValue], AfterValidator(_without_secrets)]
_STRICT = ConfigDict(
    frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
)


class Section(BaseModel):
    """A group of settings: frozen, and without room for keys that do not exist."""

    model_config = _STRICT


class EnvSettings(Section):
    """Which tasks are done."""

    name: str = Field(default="code", min_length=1)
    """Name of the environment; `agentevo envs list` shows those that are installed."""
    tasks: AbsolutePath | None = None
    """Task file, for environments that read one. Default: the environment's own tasks."""
    split: str = Field(default="test", min_length=1)
    """Task set of the environment, such as "train" or "test"."""
    n: int | None = Field(default=None, ge=1)
    """Number of tasks, at least 1. Default: all of the split."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of everything that is drawn: tasks, worlds, sampling. From 0 to 2**63 - 1."""
    options: Options = Field(default_factory=dict)
    """Further arguments of the environment; `agentevo envs info NAME` shows them."""


class ModelSettings(Section):
    """Which language model acts, and how it samples."""

    spec: str = Field(default="scripted:oracle", min_length=1)
    """Model, as "provider:name": "scripted:oracle", "llamacpp:PATH", "openai:gpt-5-mini", ..."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature, from 0 (greedy) to 2. Default: the model's own."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of one answer, at least 1. Default: the model's own."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds until one call of a remote model is given up, above 0."""
    max_retries: int = Field(default=2, ge=0, le=20)
    """Further attempts after a failed call of a remote model, from 0 to 20."""
    options: Options = Field(default_factory=dict)
    """Further arguments of the model, such as base_url or n_ctx. Secrets are refused."""


class SandboxSettings(Section):
    """Where the agent's programs run."""

    backend: str = Field(default="embedded", min_length=1)
    """Sandbox backend; `agentevo doctor` shows which ones work on this machine."""
    allow_unsafe: bool = False
    """Whether a sandbox weaker than the full isolation may be used. Never done silently."""
    options: Options = Field(default_factory=dict)
    """Further arguments of the backend, such as tier for embedded or image for docker."""


class RunSettings(Section):
    """How episodes are run: budgets, parallelism, durability."""

    concurrency: int = Field(default=4, ge=1, le=256)
    """Episodes at the same time, from 1 to 256."""
    step_limit: int | None = Field(default=None, ge=1)
    """Most actions of one episode, at least 1. Default: the environment's limit."""
    token_budget: int | None = Field(default=None, ge=1)
    """Most tokens (prompt and completion) of one episode. Default: no limit."""
    wall_s: float | None = Field(default=None, gt=0)
    """Most wall-clock seconds of one episode, above 0. Default: no limit."""
    durability: Literal["sync", "async", "exit"] = "sync"
    """When a checkpoint is written: before the next step, beside it, or at the end only."""
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    """SQLite's flush level: FULL survives a power cut, NORMAL only a killed process."""


class MemorySettings(Section):
    """What the agent remembers from earlier episodes."""

    enabled: bool = False
    """Whether rules are recalled before acting, and outcomes are observed afterwards."""
    path: AbsolutePath | None = None
    """Folder of the memory. Default: `memory` in the data folder."""
    namespace: str = Field(default="default", min_length=1, max_length=64)
    """Part of the memory that is read and written, 1 to 64 characters."""
    k: int = Field(default=8, ge=1, le=100)
    """Most records in one prompt, from 1 to 100."""
    budget_tokens: int = Field(default=512, ge=1)
    """Most tokens that records may take in one prompt, at least 1."""
    notes: int = Field(default=100, ge=0, le=100)
    """Most records in one prompt that only inform (experiences, unverified rules), from 0 to 100;
    0 for models that can follow rules but not read notes. `k` counts as well."""


class Settings(BaseSettings):
    """Everything that determines a run. Constructing it reads neither files nor environment."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        env_prefix="AGENTEVO_",
        env_nested_delimiter="__",
    )

    home: AbsolutePath = Field(default=Path(".agentevo"), validate_default=True)
    """Data folder: runs, memory, adapters."""
    env: EnvSettings = EnvSettings()
    """Which tasks are done."""
    model: ModelSettings = ModelSettings()
    """Which language model acts."""
    sandbox: SandboxSettings = SandboxSettings()
    """Where the agent's programs run."""
    run: RunSettings = RunSettings()
    """How episodes are run."""
    memory: MemorySettings = MemorySettings()
    """What the agent remembers."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_ambient: PydanticBaseSettingsSource,
        **_more: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing but the arguments; `load_settings` adds the other sources."""
        del settings_cls
        return (init_settings,)


def dump_settings(settings: Settings) -> str:
    """Return the settings as TOML that `load_settings` reads back; settings that are None are left out."""
    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))
