"""`countersign up` without the demo: pages, API and worker under the settings of the environment, on the embedded defaults.

Without COUNTERSIGN_DATABASE_URL that is SQLite in the data folder, without COUNTERSIGN_MLFLOW_URL an MLflow of its own.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from backend import bootstrap
from backend.access import sign_in_file
from backend.cli.output import emit
from backend.cli.stopping import Stop
from backend.client.credentials import TOKEN
from backend.embedded import mlflow as embedded_mlflow
from backend.embedded.mlflow import start_mlflow
from backend.embedded.own import WEB, ingest_spec, start_web, web_port, worker_spec
from backend.embedded.ports import LOOPBACK, Ports
from backend.embedded.supervisor import Supervisor
from backend.settings import Settings

_OWN_MLFLOW_NETWORK = f"{LOOPBACK}/32"


def run(data: Path | None, port: int, stop: Stop, *, as_json: bool) -> None:
    """Starts everything, says where it is, and goes on until it is told to stop. Port 0: a free one, the same again."""
    settings = bootstrap.read_settings(data)
    folder = settings.data_dir.absolute()
    chosen = web_port(port, folder / "runtimes")
    with Supervisor(folder / "runtimes") as group:
        at = group.reserve(embedded_mlflow.NAME, 1) if settings.mlflow_url is None else None
        told = _variables(settings, folder, at)
        stop.say("Preparing the data folder ...")
        _prepare(settings)
        stop.say("Starting the web app (about 5 s) ...")
        web = start_web(group, folder, chosen, told)
        seen = _seen_at(settings) or web.url
        if port == 0:
            group.remember(WEB, (chosen,))
        stop.say(f"Open {seen}")
        if at is not None:
            stop.say("Starting MLflow (about 20 s) ...")
            start_mlflow(group, folder / "mlflow", at=at)
        for move in group.moves():
            stop.say(move)
        group.start(worker_spec(folder, told))
        group.start(ingest_spec(folder, told))
        mlflow = told["COUNTERSIGN_MLFLOW_URL"]
        emit(as_json, {"web": seen, "data": str(folder), "mlflow": mlflow}, _lines(seen, mlflow, folder, settings))
        stop.wait()


def _prepare(settings: Settings) -> None:
    """Keys, schema, built-in environments. What cannot be is refused before anything is started."""
    with closing(bootstrap.install(settings)):
        return


def _variables(settings: Settings, folder: Path, at: Ports | None) -> dict[str, str]:
    """The settings as they were found, with the folder made absolute and with an MLflow of our own where there is none."""
    mine = ("COUNTERSIGN_AS", TOKEN)
    found = {name: value for name, value in os.environ.items() if name.startswith("COUNTERSIGN_") and name not in mine}
    found["COUNTERSIGN_DATA_DIR"] = str(folder)
    files = {"COUNTERSIGN_BEARER_FILE": settings.bearer_file, "COUNTERSIGN_CREDENTIALS_DIR": settings.credentials_dir}
    found |= {name: str(path.absolute()) for name, path in files.items() if path is not None}  # children run in another folder
    if settings.sign_in_file is not None:  # and with no other variable of ours
        file = settings.sign_in_file.absolute()
        found["COUNTERSIGN_SIGN_IN_FILE"] = str(file)
        found |= {name: os.environ[name] for name in sign_in_file.variables(file) if name in os.environ}
    if at is not None:
        networks = [one for one in settings.allowed_networks.split(",") if one.strip()]
        found["COUNTERSIGN_MLFLOW_URL"] = embedded_mlflow.address(at)
        found["COUNTERSIGN_ALLOWED_NETWORKS"] = ",".join([*networks, _OWN_MLFLOW_NETWORK])
    return found


def _seen_at(settings: Settings) -> str | None:
    """Where people sign in, which is the only address at which that works; None where nobody does."""
    found = bootstrap.read_sign_in(settings)
    return f"{found.origin}{found.base_path}/" if found is not None else None


def _lines(web: str, mlflow: str, folder: Path, settings: Settings) -> list[str]:
    nobody = "Nobody can sign in yet: set COUNTERSIGN_DEMO_IDENTITIES=true to act as a demo identity, on this machine alone."
    return [
        f"Countersign {web}",
        f"MLflow {mlflow}   data {folder}",
        *([] if settings.demo_identities or settings.sign_in_file is not None else [nobody]),
        "Ctrl-C stops everything; starting again goes on from here.",
    ]
