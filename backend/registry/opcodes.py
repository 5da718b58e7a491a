"""Tells from its first bytes whether a file is a pickle, by walking the opcodes. Nothing is built and nothing is executed.

A pickle is a program for a stack machine; the opcodes and their effects on the stack are those of the standard library's
own table, `pickletools.opcodes`. A file that follows them without an error is a pickle; most other files break the rules
within a few bytes.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass

HEAD_BYTES = 4 << 20
"""How much of a file is looked at."""
MAX_OPS = 100_000
"""After so many opcodes without an error nobody doubts any more."""

_TWO_LINES, _INLINE = -6, {-2: 1, -3: 4, -4: 4, -5: 8}
_LONGEST_NAME = 255
_IDENTIFIER = re.compile(rb"[A-Za-z_\x80-\xff][A-Za-z0-9_.\x80-\xff]{0,254}")
_NAMES = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"})
_CALLS = frozenset({"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_PROTOCOLS = range(6)


class NotAPickle(Exception):
    """The bytes break a rule of the stack machine: nothing can load them."""


class BeyondHead(Exception):
    """The opcodes go on, correct so far, after the bytes that are looked at."""


@dataclass
class Budget:
    """Opcodes that may still be walked, shared by all files of one tree, so that hostile files cannot take for ever."""

    ops: int = 20_000_000

    def spend(self) -> None:
        """One opcode."""
        self.ops -= 1
        if self.ops < 0:
            raise BeyondHead


@dataclass(frozen=True)
class _Op:
    """One opcode: the bytes of its argument (negative: see pickletools) and what it does to the stack."""

    name: str
    argument: int
    pops: int
    pops_mark: bool
    pushes: int


def is_pickle(head: bytes, size: int, budget: Budget) -> bool:
    """Whether a file of `size` bytes that begins with `head` is a pickle that a loader would run.

    With a protocol header any pickle counts. Without one, where a short text may be a pickle by chance ("N."), only one that
    names something to import and calls it; one that says nothing may be followed by another in the same file.
    """
    headed = len(head) > 1 and head[0] == 0x80 and head[1] in _PROTOCOLS
    walk = _Walk(head, size, strict=not headed)
    named = False
    try:
        for _ in range(MAX_OPS):
            budget.spend()
            name = walk.step()
            named = named or name in _NAMES
            if (headed and (named or name == "STOP")) or (named and (name in _CALLS or name == "STOP")):
                return True
    except NotAPickle:
        return False
    except BeyondHead:
        pass
    return True


class _Walk:
    """A position in the bytes, and how deep the stack would be. `strict` doubts names that nobody could import."""

    def __init__(self, head: bytes, size: int, *, strict: bool) -> None:
        self._head = head
        self._size = size
        self._strict = strict
        self._at = 0
        self._depth = 0
        self._marks: list[int] = []

    def step(self) -> str:
        """Walks over one opcode and its argument; returns its name."""
        op = _OPS.get(self._take(1)[0])
        if op is None:
            raise NotAPickle
        self._change_stack(op)
        self._pass_argument(op)
        return op.name

    def _change_stack(self, op: _Op) -> None:
        if op.name == "MARK":
            self._marks.append(self._depth)
            return
        if op.pops_mark or (op.name == "POP" and self._marks and self._depth == self._marks[-1]):
            if not self._marks:
                raise NotAPickle
            self._depth = self._marks.pop()
            if op.name == "POP":
                return
        floor = self._marks[-1] if self._marks else 0
        if self._depth - floor < op.pops:
            raise NotAPickle
        self._depth += op.pushes - op.pops
        if op.name == "STOP":
            self._depth, self._marks = 0, []

    def _pass_argument(self, op: _Op) -> None:
        if op.argument >= 0:
            self._skip(op.argument)
        elif op.argument in _INLINE:
            self._skip(int.from_bytes(self._take(_INLINE[op.argument]), "little"))
        else:
            lines = [self._line(op) for _ in range(2 if op.argument == _TWO_LINES else 1)]
            if not all(_is_argument(op.name, line, self._strict) for line in lines):
                raise NotAPickle

    def _take(self, count: int) -> bytes:
        start = self._at
        self._skip(count)
        if self._at > len(self._head):
            raise BeyondHead
        return self._head[start : self._at]

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > self._size:
            raise NotAPickle

    def _line(self, op: _Op) -> bytes:
        end = self._head.find(b"\n", self._at)
        if end < 0:
            is_name = self._strict and op.argument == _TWO_LINES and len(self._head) - self._at > _LONGEST_NAME
            raise NotAPickle if is_name or len(self._head) == self._size else BeyondHead
        line = self._head[self._at : end]
        self._at = end + 1
        return line


def _is_argument(name: str, line: bytes, strict: bool) -> bool:
    """Whether the unpickler would take this text as the opcode's argument."""
    if name in ("GLOBAL", "INST"):
        return not strict or _IDENTIFIER.fullmatch(line) is not None  # text files begin so, but with other names
    if name == "STRING":
        text = line.strip()
        return len(text) > 1 and text[0] == text[-1] and text[:1] in (b"'", b'"')
    if name in ("INT", "LONG", "PUT", "GET", "FLOAT"):
        return _is_number(line.removesuffix(b"L"), float if name == "FLOAT" else _whole)
    return True


def _whole(line: bytes) -> int:
    return int(line, 0) if line.strip(b"0") else 0


def _is_number(line: bytes, read: Callable[[bytes], float]) -> bool:
    try:
        read(line)
    except ValueError:
        return False
    return True


def _op(info: pickletools.OpcodeInfo) -> _Op:
    before = info.stack_before
    pops_mark = pickletools.markobject in before
    below = before.index(pickletools.markobject) if pops_mark else len(before)
    argument = 0 if info.arg is None else info.arg.n
    if info.name in ("GLOBAL", "INST"):
        argument = _TWO_LINES
    return _Op(info.name, argument, below, pops_mark, 0 if info.name == "MARK" else len(info.stack_after))


_OPS = {ord(info.code): _op(info) for info in pickletools.opcodes}
