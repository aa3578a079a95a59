"""The parsed content of a part that is one JSON or YAML file; loaded on demand."""

import json
from typing import Any, NoReturn

from lastgood.errors import InvalidBundle
from lastgood.frozen import freeze

#: suffixes of files whose content is data
JSON_SUFFIXES = (".json",)
YAML_SUFFIXES = (".yaml", ".yml")


def is_data(path: str) -> bool:
    """Whether a file of this name is parsed."""
    return path.lower().endswith(JSON_SUFFIXES + YAML_SUFFIXES)


def parse_file(path: str, content: bytes) -> Any:
    """The frozen value of one .json, .yaml or .yml file.

    Raises:
        InvalidBundle: the content is no JSON or YAML, or holds duplicate keys; begins with `path:line`.
    """
    if path.lower().endswith(JSON_SUFFIXES):
        return freeze(_json(path, content))
    from lastgood.strict_yaml import load_yaml

    return freeze(load_yaml(content, path, InvalidBundle).value)


def _json(path: str, content: bytes) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise InvalidBundle(f"{path}: the key {twice!r} stands twice in one map; drop one")
        return found

    def refuse(word: str) -> NoReturn:
        raise InvalidBundle(f"{path}: {word} is not JSON; write a finite number, or null")

    try:
        text = content.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except UnicodeDecodeError:
        raise InvalidBundle(f"{path}: not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidBundle(f"{path}:{error.lineno}: {error.msg}; correct the JSON") from None
    except RecursionError:
        raise InvalidBundle(f"{path}: nested too deeply; make it flatter") from None
    except ValueError as error:
        if isinstance(error, InvalidBundle):
            raise
        raise InvalidBundle(f"{path}: {error}; quote the number") from None  # over 4,300 digits
