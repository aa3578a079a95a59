"""Mutants of a module: each differs from it in one place, as a slip of the pen would.

What nobody's behaviour hangs on stays as it is: docstrings, annotations, decorators, assertions, `__all__`
and the words of messages (f-strings).
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

_SWAPS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.Pow: (ast.Mult,),
}
_LEFT_ALONE = {"annotation", "returns", "decorator_list", "type_params"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One module with one change."""

    line: int
    #: `before -> after`
    change: str
    code: CodeType


def mutants(path: Path, names: tuple[str, ...] = ()) -> Iterator[Mutant]:
    """Every mutant of a source file, or of its functions and methods `names` ("window", "Court.charge")."""
    tree = ast.parse(path.read_text())
    for parent, field, index, node in _places(tree, names, ""):
        for new in _variants(field, node):
            change = f"{_text(node)} -> {_text(new)}"
            _put(parent, field, index, ast.fix_missing_locations(ast.copy_location(new, node)))
            code = compile(ast.fix_missing_locations(tree), str(path), "exec", dont_inherit=True)
            _put(parent, field, index, node)
            yield Mutant(node.lineno, change, code)


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _places(node: ast.AST, names: tuple[str, ...], within: str) -> Iterator[tuple[Any, str, int | None, Any]]:
    """Every node that may be changed, by where it hangs: parent, field, index in a list."""
    for field, value in ast.iter_fields(node):
        if field in _LEFT_ALONE:
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_left_alone(child):
                continue
            named = isinstance(child, ast.FunctionDef | ast.ClassDef)
            name = f"{within}.{child.name}".lstrip(".") if named else within
            if hasattr(child, "lineno") and (not names or within in names):
                yield node, field, index, child
            if not named or not names or any(f"{wanted}.".startswith(f"{name}.") for wanted in names):
                yield from _places(child, names, name)


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        return isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return docstring or isinstance(node, ast.JoinedStr | ast.Assert | ast.Import | ast.ImportFrom)


def _variants(field: str, node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    yield from _statements(node)
    yield from _operations(node)
    match node:
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.Constant(value=str() as value):
            yield ast.Constant(f"{value}x")
        case ast.Call(called, args, keywords):
            for at in range(len(keywords)):
                yield ast.Call(called, args, [*keywords[:at], *keywords[at + 1 :]])
    asked = field in {"test", "ifs"} and not isinstance(node, ast.Compare | ast.UnaryOp)
    if asked and isinstance(node, ast.expr):
        yield ast.UnaryOp(ast.Not(), node)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Without the statement, or without what it returns."""
    match node:
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Expr() | ast.Raise() | ast.AugAssign() | ast.Delete() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield ast.Pass()


def _operations(node: ast.AST) -> Iterator[ast.AST]:
    """With another operator, or with none."""
    match node:
        case ast.Compare(left, ops, comparators):
            for at, op in enumerate(ops):
                for other in _SWAPS[type(op)]:
                    yield ast.Compare(left, [*ops[:at], other(), *ops[at + 1 :]], comparators)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(_SWAPS[type(op)][0](), values)
        case ast.BinOp(left, op, right) if type(op) in _SWAPS:
            yield ast.BinOp(left, _SWAPS[type(op)][0](), right)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
