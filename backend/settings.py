"""Typed settings from COUNTERSIGN_* environment variables. The README's table is generated from this file.

A setting that holds a secret may stand in a file instead, which `COUNTERSIGN_<SETTING>_FILE` names: as Docker and Kubernetes
mount secrets.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "COUNTERSIGN_"
_LARGEST = 64 << 10


class SecretFileError(ValueError):
    """A setting's file that cannot be used. `setting` is the variable that is wrong; no value is repeated."""

    def __init__(self, setting: str, why: str) -> None:
        super().__init__(why)
        self.setting = setting


class _SecretFiles(PydanticBaseSettingsSource):
    """The secret settings that stand in files. Source of the form: pydantic-settings, "Adding sources"."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of the file that the variable names, without a line's end after it."""
        variable = f"{PREFIX}{field_name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if not path or SecretStr not in (field.annotation, *get_args(field.annotation)):
            return None, field_name, False
        if os.environ.get(variable):
            raise SecretFileError(f"{variable}_FILE", f"{variable} is set too")
        try:
            with Path(path).open(encoding="utf-8") as stream:
                text = stream.read(_LARGEST + 1)
        except (OSError, UnicodeError):
            raise SecretFileError(f"{variable}_FILE", "the file that it names cannot be read") from None
        if len(text) > _LARGEST or not text.strip():
            raise SecretFileError(f"{variable}_FILE", "the file that it names is empty or larger than 64 KiB")
        return text.rstrip("\r\n"), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Every one that is there."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class Settings(BaseSettings):
    """Everything that an administrator can set. Each field's description is its line in the README."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What the program passes, then the environment, then the files that the environment names."""
        return init_settings, env_settings, _SecretFiles(settings_cls)

    data_dir: Path = Field(Path("data"), description="Folder for the embedded database, package store, keys and logs.")
    database_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL, e.g. `postgresql+psycopg://...`. Default: SQLite in the data folder."
    )
    package_store_url: SecretStr | None = Field(
        None, description="Where approved packages are kept (fsspec URL). Default: `packages/` in the data folder."
    )
    ledger_heads_url: SecretStr | None = Field(
        None,
        description="Where signed ledger heads are exported (fsspec URL). Default: `ledger-heads/` in the data folder.",
    )
    inference_log_url: SecretStr | None = Field(
        None, description="Where the inference log is kept (fsspec URL). Default: `inference-log/` in the data folder."
    )
    access_log_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Port on loopback at which `countersign ingest` takes Envoy's gRPC access log (docs/inference-log.md).",
    )
    answers_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Port on loopback at which `countersign ingest` takes what shadow arms answered (docs/inference-log.md).",
    )
    access_log_files: str = Field(
        "", description="Comma-separated paths of Envoy's access logs in JSON that `countersign ingest` follows."
    )
    xds_address: str = Field(
        "127.0.0.1:18000",
        description="Where `countersign xds` gives Envoys their routes (docs/fleets.md). Beyond loopback only with mutual TLS.",
    )
    xds_door_address: str = Field(
        "127.0.0.1:18001", description="Where `countersign xds` is told routes by workers. Beyond loopback only with TLS."
    )
    xds_token: SecretStr | None = Field(
        None, description="Token (32 characters or more) that workers show at `countersign xds`: the credential of the router."
    )
    xds_certificate_file: Path | None = Field(None, description="Certificate, with its chain, that `countersign xds` shows.")
    xds_key_file: Path | None = Field(None, description="Private key of that certificate.")
    xds_client_ca_file: Path | None = Field(
        None, description="Certificates that those of Envoys must be signed by. Envoys without one are then turned away."
    )
    xds_nodes: str = Field(
        "", description="Comma-separated names, or patterns as `edge-*`, of Envoys that may connect. Default: any name."
    )
    xds_streams: int = Field(1_000, ge=1, le=100_000, description="Most Envoys that may be connected at once.")
    xds_gone_seconds: float = Field(
        300.0, ge=0, description="How long an Envoy that left still counts, because it may go on with what it has."
    )
    window_reports_url: SecretStr | None = Field(
        None,
        description="fsspec URL of the pages of window reports (docs/window-reports.md). Default: `window-reports/` in the "
        "data folder.",
    )
    window_reports_days: int = Field(30, ge=1, le=3_650, description="How many days a window report is kept.")
    log_tables_file: Path | None = Field(
        None, description="TOML file with tables of one's own engine that endpoints are counted in (docs/inference-log.md)."
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
    message_networks: str = Field(
        "",
        description="Comma-separated private ranges that messages on anybody's routes may reach (docs/notify.md). "
        "Default: public addresses only.",
    )
    allowed_ports: str = Field(
        "",
        description="Comma-separated ports that outgoing calls may reach, e.g. `443,8000-8002`. "
        "Default: all but those of other protocols.",
    )
    credentials_dir: Path | None = Field(
        None, description="Folder with credentials of servers that are referred to as `file:NAME` (docs/secrets.md)."
    )
    demo_identities: bool = Field(False, description="Allow the built-in demo identities (loopback only).")
    sign_in_file: Path | None = Field(
        None, description="TOML file with the OpenID providers that people sign in at (docs/sign-in.md)."
    )
    bearer_file: Path | None = Field(
        None, description="TOML file with the issuers whose bearer tokens the API takes: builds, clients (docs/machines.md)."
    )
    runtimes_dir: Path | None = Field(None, description="Folder of the embedded runtimes' environments. Default: `.runtimes/`.")
    allow_pickle: str = Field(
        "flag",
        description="Models whose artifacts contain pickled code: `refuse`, or `flag` them; they are never loaded here.",
    )
    upload_max_bytes: int = Field(2 << 30, description="Largest upload, unpacked, in bytes.")
    upload_max_entries: int = Field(10_000, description="Most files in one upload.")
    observe_seconds: float = Field(10.0, description="Interval between two looks at a server that is in sync.")
    scrape_seconds: float = Field(30.0, ge=5, le=300, description="Interval between two looks at metrics (docs/metrics.md).")
    lease_seconds: float = Field(30.0, description="How long a worker may hold a server without renewing.")
    worker_threads: int = Field(8, description="Servers that one worker looks after at the same time.")
    api_requests_per_minute: int = Field(
        6_000, ge=0, description="Requests to the REST API that one identity may send in a minute; 0: any number."
    )
    api_burst: int = Field(600, ge=1, description="How many of them it may send at once.")
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
        return _url(self.package_store_url) or (self.data_dir.absolute() / "packages").as_uri()

    @property
    def inference_log(self) -> str:
        """fsspec URL of the inference log in force."""
        return _url(self.inference_log_url) or (self.data_dir.absolute() / "inference-log").as_uri()

    @property
    def window_reports(self) -> str:
        """fsspec URL of the pages of window reports in force."""
        return _url(self.window_reports_url) or (self.data_dir.absolute() / "window-reports").as_uri()

    @property
    def ledger_heads(self) -> str:
        """fsspec URL of the signed ledger heads in force."""
        return _url(self.ledger_heads_url) or (self.data_dir.absolute() / "ledger-heads").as_uri()


def _url(setting: SecretStr | None) -> str:
    return setting.get_secret_value() if setting is not None else ""
