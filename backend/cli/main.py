"""`countersign`: the root command. Each of its commands is in a file of its own and is imported when it is called."""

from __future__ import annotations

import click

from backend.cli.exits import in_short
from backend.cli.lazy import Lazy, LazyGroup
from backend.cli.output import quiet_logs

COMMANDS = {
    "apply": Lazy("backend.cli.config:apply", "Make teams, policies, servers and endpoints as files declare them."),
    "audit": Lazy("backend.cli.audit:audit", "Read the ledger, and check that nobody rewrote it."),
    "completion": Lazy("backend.cli.completion:completion", "Print what bash, zsh or fish needs to complete commands."),
    "change": Lazy("backend.cli.change:change", "Propose, review, start, revoke and take back changes."),
    "data-set": Lazy("backend.cli.data_set:data_set", "Who may read recorded requests row by row, and reading them."),
    "demo": Lazy("backend.cli.demo:demo", "Promote a model under real traffic, prove it, and take it back."),
    "doctor": Lazy("backend.cli.installation:doctor", "Say what this machine and this installation lack."),
    "endpoint": Lazy("backend.cli.endpoint:endpoint", "Look at endpoints, adopt them, and stop or repair them by hand."),
    "experiment": Lazy("backend.cli.experiment:experiment", "Design experiments, plan them, and say what came of them."),
    "export": Lazy("backend.cli.config:export", "Write what is there as files that `apply` takes."),
    "finding": Lazy("backend.cli.finding:finding", "What was found wrong: answer it, silence it, say that it is over."),
    "freeze": Lazy("backend.cli.freeze:freeze", "Stop all starts in an environment, or everywhere."),
    "identity": Lazy("backend.cli.identity:identity", "People and services, and which roles they hold."),
    "inference-log": Lazy("backend.cli.inference_log:inference_log", "Feed and read inference logs; what is kept of them."),
    "ingest": Lazy("backend.cli.ingest:ingest", "Run the ingest of the inference log in the foreground."),
    "login": Lazy("backend.cli.login:login", "Keep a token for a server, and act there from now on."),
    "logout": Lazy("backend.cli.login:logout", "Forget the token of a server."),
    "migrate": Lazy("backend.cli.installation:migrate", "Make keys, and bring the database to this program's schema."),
    "model": Lazy("backend.cli.model:model", "Register versions, and look at models."),
    "monitor": Lazy("backend.cli.monitor:monitor", "What is watched at endpoints, how monitors fare, and reference profiles."),
    "notify": Lazy("backend.cli.notify:notify", "Messages: where they go, who hears of what, and what became of each."),
    "outgoing": Lazy("backend.cli.outgoing:outgoing", "Where the installation may call, and whether it would call an address."),
    "policy": Lazy("backend.cli.policy:policy", "See and set what an environment asks of a change."),
    "ramp": Lazy("backend.cli.ramp:ramp", "Ramps by name, which proposals use and policies ask for."),
    "request": Lazy("backend.cli.request:request", "What waits for a second person: confirm or refuse it."),
    "rollout": Lazy("backend.cli.rollout:rollout", "See, pause, resume, let on or abort rollouts of endpoints."),
    "router": Lazy("backend.cli.server:router", "Register, test and list traffic routers."),
    "secrets": Lazy("backend.cli.secrets:secrets", "The keys that secrets are sealed to and that sign the ledger's heads."),
    "session": Lazy("backend.cli.signed_in:session", "Who is signed in where, and ending it."),
    "sign-in": Lazy("backend.cli.sign_in:sign_in", "The providers that people sign in at, and which groups give which role."),
    "server": Lazy("backend.cli.server:server", "Register, test and list servers."),
    "slo": Lazy("backend.cli.slo:slo", "What is promised of endpoints, how it stands, and rules for Prometheus."),
    "team": Lazy("backend.cli.team:team", "Teams, who belongs to them, and what they own."),
    "token": Lazy("backend.cli.token:token", "Make, list and revoke tokens for the API."),
    "ui": Lazy("backend.cli.ui:ui", "Serve the pages and the API in the foreground until it is told to stop."),
    "up": Lazy("backend.cli.up:up", "Start everything, with or without the flights demo, until it is told to stop."),
    "whoami": Lazy("backend.cli.login:whoami", "Say where commands act, as whom, and with which roles."),
    "window-report": Lazy("backend.cli.window_report:window_report", "Evidently's page of one window: ask for it, save it."),
    "worker": Lazy("backend.cli.worker:worker", "Run a worker in the foreground until it is told to stop."),
    "xds": Lazy("backend.cli.xds:xds", "Give a fleet of Envoys their routes, in the foreground; print their bootstrap."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    epilog=in_short(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="countersign")
def main() -> None:
    """Countersign pushes only what was approved, finds whatever else runs, and can prove both.

    Commands act on this machine's data folder, or with `--url` (COUNTERSIGN_URL, or after `countersign login`) at a server.
    """
    quiet_logs()


if __name__ == "__main__":
    main(prog_name="countersign")
