"""What is a Triton repository entry already, taken as it is: its files, its configuration made explicit, and a manifest.

Two shapes are entries: a model folder with `config.pbtxt` (or `config.json`) and one numbered folder with the model in it, or
a version folder with the configuration beside the model. A package is one version folder, so that whatever the model reads
must lie in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from backend.core.canonical import TreeFile, digest_tree, tree_files
from backend.core.errors import Refusal
from backend.delivery.packagers.contents import CODE_GUARD, Contents, describe, read_probes
from backend.delivery.packagers.triton_config import interface_digest, normal_form, parse_text
from backend.delivery.packages import CONFIG, MANIFEST, PROBES, Manifest, read_json

CONFIG_TEXT = "config.pbtxt"
_MODEL_FOLDER = "$$TRITON_MODEL_DIRECTORY"
# What MLflow and people put beside a model; no model reads it.
_BESIDE = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "input_example.json", "serving_input_example.json"}
_CODE = (".py", ".so", ".pyc")
# Parameters by which Triton is told of code to run. A package is one version folder under a number given later, so that no
# value of theirs could name a file of the package.
_CODE_PARAMETERS = ("EXECUTION_ENV_PATH", "TRITON_BATCH_STRATEGY_PATH")
_PLACE = re.compile(
    r"""^[/~\\]                              # a path from the root or a home folder
    | (?:^|[\s=:,;"'\[({])(?:~?/[\w.]|\\\\)  # one within the value, as in `--lib=/mnt/x`
    | (?:^|\W)[a-z]:[/\\]                 # of Windows
    | (?:^|[/\\\s=:,;"'])\.\.(?:[/\\]|$)   # a way up
    | (?:^|\W)file: | [a-z][\w+.-]*://    # a URL""",
    re.IGNORECASE | re.VERBOSE,
)


class TritonRepositoryPackager:
    """The version folder's files as they are, `config.json` in normal form, `manifest.json`, `probes.json` if there."""

    kind: ClassVar[str] = "triton-repository@1"
    target: ClassVar[str] = "triton"

    def accepts(self, artifact: Path) -> str:
        """Needs one configuration and at most one numbered folder."""
        if not (artifact / CONFIG_TEXT).is_file() and not _is_triton_json(artifact / CONFIG):
            return f"It has no {CONFIG_TEXT}, and no {CONFIG} that is a Triton configuration."
        if (artifact / CONFIG_TEXT).exists() and (artifact / CONFIG).exists():
            return f"It has both {CONFIG_TEXT} and {CONFIG}."
        if len(versions := _version_folders(artifact)) > 1:
            return f"It has several version folders ({', '.join(versions[:5])}), and a version is one of them."
        return ""

    def build(self, artifact: Path, package: Path) -> None:
        """Writes the package. Refusal `not-an-entry` or `not-packageable` says what has to be moved or removed."""
        if reason := self.accepts(artifact):
            raise _not_an_entry(reason)
        files = tree_files(artifact)
        _contents(artifact, _of_artifact(files), digest_tree(files), _read_config(artifact)).write(package)


def version_contents(folder: Path, files: Sequence[TreeFile], config: Mapping[str, Any]) -> Contents:
    """The package of a version folder that lies in a server's repository.

    Args:
        files: its tree as it was hashed.
        config: the configuration that the server reports, in JSON form.
    """
    copied = {file.path: file for file in files if _is_taken(file.path)}
    return _contents(folder, copied, digest_tree(copied.values()), config)


def is_compiled(path: str) -> bool:
    """Whether Python left it. Such code is never packaged: it would be run instead of the source."""
    return CODE_GUARD in path.split("/")[:-1]


def _contents(root: Path, copied: Mapping[str, TreeFile], artifact_digest: str, config: Mapping[str, Any]) -> Contents:
    explicit = normal_form(config)
    for reason in (*_outside(explicit), *_taken(copied)):
        raise _not_packageable(reason)
    manifest = Manifest(
        packager=TritonRepositoryPackager.kind,
        target=TritonRepositoryPackager.target,
        artifact_digest=artifact_digest,
        interface_digest=interface_digest(explicit),
        probes=read_probes(root / copied[PROBES].path, explicit) if PROBES in copied else None,
        runs_code=runs_code(explicit, copied),
    )
    guard = {CODE_GUARD: b""} if explicit["backend"] == "python" else {}
    return Contents(root, copied, {**guard, **describe(manifest, explicit)})


def _of_artifact(files: Sequence[TreeFile]) -> dict[str, TreeFile]:
    """Path in the package -> file of the artifact."""
    prefix = next((f"{first}/" for file in files if _is_version(first := file.path.partition("/")[0]) and "/" in file.path), "")
    inside = {file.path.removeprefix(prefix): file for file in files if file.path.startswith(prefix)}
    beside = {file.path: file for file in files if not file.path.startswith(prefix)}
    if not prefix:
        inside = {path: file for path, file in inside.items() if path not in (CONFIG, CONFIG_TEXT)}
    for path in sorted(beside.keys() - _BESIDE - {CONFIG, CONFIG_TEXT, PROBES}):
        if not _is_a_note(path):
            raise _not_packageable(f"{path} lies beside the version folder, where the package does not reach")
    if PROBES in beside:
        inside.setdefault(PROBES, beside[PROBES])
    return {path: file for path, file in inside.items() if _is_taken(path)}


def _is_taken(path: str) -> bool:
    return path != CODE_GUARD and not is_compiled(path)


def _version_folders(artifact: Path) -> list[str]:
    return sorted(path.name for path in artifact.iterdir() if path.is_dir() and _is_version(path.name))


def _is_version(name: str) -> bool:
    """As Triton reads it: a positive number without leading zeros."""
    return name.isascii() and name.isdigit() and not name.startswith("0")


def _is_a_note(path: str) -> bool:
    return "/" not in path and path.upper().startswith(("README", "LICENSE", "."))


def _outside(config: Mapping[str, Any]) -> Iterator[str]:
    """What in a configuration leads out of the version folder, or changes what is loaded."""
    if not config["backend"]:
        yield "its configuration names no backend"
    if "ensemble_scheduling" in config or config.get("platform") == "ensemble":
        yield "an ensemble is made of other models; promote those"
    if any(one.get("label_filename") for one in config["output"]):
        yield "its label file lies beside the version folder; leave label_filename out"
    if "model_repository_agents" in config:
        yield "a repository agent may change the files while they are loaded"
    if "model_operations" in config:
        yield "a library of custom operations is named by a path outside the package"
    yield from _outside_parameters(config)
    if any("input_data_file" in one for sample in config.get("model_warmup", ()) for one in sample.get("inputs", {}).values()):
        yield "its warm-up data lies beside the version folder; use zero_data or random_data"
    if any("data_file" in one for state in config.get("sequence_batching", {}).get("state", ()) for one in
           state.get("initial_state", ())):  # fmt: skip
        yield "its initial state lies beside the version folder; use zero_data"
    if any(one["kind"] == "KIND_GPU" and not one.get("gpus") for one in config["instance_group"]):
        yield "an instance group on GPUs leaves to the server which; list them in gpus"
    names = [config.get("default_model_filename", ""), *config.get("cc_model_filenames", {}).values()]
    if any("/" in name or ".." in name for name in names):
        yield "its model file is named by a path"
    if any("/" in name or ".." in name for name in (config["backend"], config.get("runtime", ""))):
        yield "its backend or runtime is named by a path"


def _outside_parameters(config: Mapping[str, Any]) -> Iterator[str]:
    """Parameters that lead out of the package: what they name is under no digest, and a backend may run it."""
    for key, value in _parameters(config):
        if _MODEL_FOLDER in value:
            yield f"its parameter {_shown(key)} names {_MODEL_FOLDER}, which lies outside the version folder"
        if key.upper() in _CODE_PARAMETERS:
            yield f"its parameter {_shown(key)} ({_shown(value)}) names code outside the version folder"
        if _PLACE.search(value):
            yield f"its parameter {_shown(key)} is the path or URL {_shown(value)}, which lies outside the version folder"


def _parameters(found: Any) -> Iterator[tuple[str, str]]:
    """Name and text of every parameter, those of accelerators too."""
    if isinstance(found, Mapping):
        for name, part in found.items():
            if name == "parameters" and isinstance(part, Mapping):
                yield from ((str(key), _text(value)) for key, value in part.items())
            else:
                yield from _parameters(part)
    elif isinstance(found, list):
        for part in found:
            yield from _parameters(part)


def _text(value: Any) -> str:
    return str(value.get("string_value", "")) if isinstance(value, Mapping) else str(value)


def _shown(text: str) -> str:
    return "".join(each for each in text if each.isprintable())[:100]


def _taken(copied: Mapping[str, TreeFile]) -> Iterator[str]:
    if not set(copied) - {PROBES}:
        yield "there is no model in it"
    for path in (CONFIG, MANIFEST):
        if path in copied:
            yield f"its version folder has a {path}, and the package's own description has that name; rename it"


def runs_code(config: Mapping[str, Any], paths: Iterable[str]) -> bool:
    """Whether a package with these files carries code that the server will run."""
    return config["backend"] == "python" or "runtime" in config or any(path.endswith(_CODE) for path in paths)


def _read_config(artifact: Path) -> dict[str, Any]:
    path = artifact / CONFIG_TEXT
    if not path.is_file():
        found: dict[str, Any] = read_json(artifact / CONFIG)
        return found
    if path.stat().st_size > 1 << 20:
        raise _not_an_entry(f"Its {CONFIG_TEXT} is larger than 1 MiB.")
    return parse_text(path.read_bytes())


def _is_triton_json(path: Path) -> bool:
    """Many libraries have a `config.json`; Triton's names a backend or a platform."""
    try:
        found = read_json(path)
    except (OSError, Refusal):
        return False
    return isinstance(found, dict) and bool({"backend", "platform"} & set(found))


def _not_an_entry(reason: str) -> Refusal:
    return Refusal(
        f"This artifact is not a Triton repository entry. {reason}",
        f"Give one {CONFIG_TEXT} and one numbered folder with the model in it, and register that version.",
        code="not-an-entry",
    )


def _not_packageable(reason: str) -> Refusal:
    return Refusal(
        f"This Triton model cannot be packaged: {reason}.",
        "A package is one version folder with everything that the model reads; change the model and register that version.",
        code="not-packageable",
    )
