"""Typed settings from COUNTERSIGN_* environment variables. The README's table is generated from this file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything that an administrator can set. Each field's description is its line in the README."""

    model_config = SettingsConfigDict(env_prefix="COUNTERSIGN_", extra="ignore", frozen=True)

    data_dir: Path = Field(Path("data"), description="Folder for the embedded database, package store, keys and logs.")
    database_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL, e.g. `postgresql+psycopg://...`. Default: SQLite in the data folder."
    )
    package_store_url: str | None = Field(
        None, description="Where approved packages are kept (fsspec URL). Default: `packages/` in the data folder."
    )
    ledger_heads_url: str | None = Field(
        None,
        description="Where signed ledger heads are exported (fsspec URL). Default: `ledger-heads/` in the data folder.",
    )
    inference_log_url: str | None = Field(
        None, description="Where the inference log is kept (fsspec URL). Default: `inference-log/` in the data folder."
    )
    mlflow_url: str | None = Field(None, description="Tracking and registry server, e.g. `https://mlflow.example.com`.")
    mlflow_token: SecretStr | None = Field(None, description="Bearer token for the MLflow server.")
    mlflow_webhook_secret: SecretStr | None = Field(
        None, description="Secret (16 characters or more) of the MLflow webhooks that are taken as hints (docs/notify.md)."
    )
    mail_url: SecretStr | None = Field(
        None,
        description="Mail server that messages leave by, e.g. `mailtos://user:password@smtp.example.com?from=countersign@example.com`.",
    )
    public_url: str = Field(
        "", description="Address under which people see the pages, for links in messages. Default: where they sign in."
    )
    allowed_networks: str = Field(
        "", description="Comma-separated private ranges that outgoing calls may reach, e.g. `10.2.0.0/16`."
    )
    demo_identities: bool = Field(False, description="Allow the built-in demo identities (loopback only).")
    sign_in_file: Path | None = Field(
        None, description="TOML file with the OpenID providers that people sign in at (docs/sign-in.md)."
    )
    runtimes_dir: Path | None = Field(None, description="Folder of the embedded runtimes' environments. Default: `.runtimes/`.")
    allow_pickle: str = Field(
        "flag",
        description="Models whose artifacts contain pickled code: `refuse`, or `flag` them; they are never loaded here.",
    )
    upload_max_bytes: int = Field(2 << 30, description="Largest upload, unpacked, in bytes.")
    upload_max_entries: int = Field(10_000, description="Most files in one upload.")
    observe_seconds: float = Field(10.0, description="Interval between two looks at a server that is in sync.")
    lease_seconds: float = Field(30.0, description="How long a worker may hold a server without renewing.")
    worker_threads: int = Field(8, description="Servers that one worker looks after at the same time.")
    metrics_port: int | None = Field(None, description="Port of the worker's Prometheus metrics on loopback.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    production_alias: str = Field(
        "{environment}-champion", description="Registry alias that is moved when a promotion is proved."
    )

    @property
    def sqlalchemy_url(self) -> str:
        """The database URL in force."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.absolute() / 'countersign.db'}"

    @property
    def package_store(self) -> str:
        """fsspec URL of the package store in force."""
        return self.package_store_url or (self.data_dir.absolute() / "packages").as_uri()

    @property
    def inference_log(self) -> str:
        """fsspec URL of the inference log in force."""
        return self.inference_log_url or (self.data_dir.absolute() / "inference-log").as_uri()

    @property
    def ledger_heads(self) -> str:
        """fsspec URL of the signed ledger heads in force."""
        return self.ledger_heads_url or (self.data_dir.absolute() / "ledger-heads").as_uri()
