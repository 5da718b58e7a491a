"""Declarations as text: YAML that everybody reads alike, and that `text` reads back as what it was."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]

_SAFE = re.compile(r"[A-Za-z/][A-Za-z0-9_./@-]*(?: [A-Za-z0-9_./@-]+)*|[0-9]+[smhd]")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


class _Writer(yaml.SafeDumper):  # type: ignore[misc]
    """Puts in quotes whatever some reader could take for something else, and indents lists."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists stand deeper than their key, as most people write them."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """The same value twice is written twice."""
        return True


def _text(writer: Any, text: str) -> Any:
    plain = _SAFE.fullmatch(text) is not None and text.lower() not in _WORDS
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Writer.add_representer(str, _text)


def written(objects: Iterable[Mapping[str, Any]]) -> str:
    """The documents of some objects, one after the other."""
    told = [
        yaml.dump(dict(one), Dumper=_Writer, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
        for one in objects
    ]
    return "---\n".join(str(one) for one in told)
