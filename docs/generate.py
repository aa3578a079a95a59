"""`make reference`: write docs/reference from the code: the command line, a policy, an agent's profile.

A test holds the files to what this would write today, so that they can't fall behind.
"""

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from config.policy import Policy  # noqa: E402  found by the lines above
from config.profile import Profile  # noqa: E402
from lastgood import cli  # noqa: E402

WIDTH = 100
MADE = "Made by `make reference` from the code; edit that, not this page."
Schema = Mapping[str, Any]


def pages() -> dict[str, str]:
    """Every page of the reference by its file's name."""
    return {
        "cli.md": command_line(),
        "policy.md": model("A policy", Policy.model_json_schema(), inspect.getdoc(Policy) or ""),
        "profile.md": model("An agent's profile", Profile.model_json_schema(), inspect.getdoc(Profile) or ""),
    }


def command_line() -> str:
    """Each command as its `--help` prints it."""
    parts = [f"# The command line\n\n{MADE}\n"]
    for command, called in commands(cli.main, context(cli.main, "lastgood")):
        parts.append(f"## {called.command_path}\n\n```text\n{command.get_help(called)}\n```\n")
    return "\n".join(parts)


def context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    """A command as somebody calls it, in a terminal of our width."""
    given = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    return click.Context(command, info_name=name, parent=parent, **given)


def commands(command: click.Command, within: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """A command, then those below it, in the order of their names."""
    yield command, within
    if isinstance(command, click.Group):
        for name in command.list_commands(within):
            found = command.get_command(within, name)
            if found is not None and not found.hidden:
                yield from commands(found, context(found, name, within))


def model(title: str, schema: Schema, said: str) -> str:
    """A model's fields as one table, and one more for each section that they hold."""
    sections = schema.get("$defs", {})
    parts = [f"# {title}\n\n{MADE}\n\n{said}\n\n{table(schema, sections)}"]
    for name, section in sorted(sections.items()):
        if "properties" in section:
            rows = table(section, sections)
            parts.append(f"## {heading(name)}\n\n{section.get('description', '')}\n\n{rows}")
        else:
            values = ", ".join(f"`{value}`" for value in section["enum"])
            parts.append(f"## {heading(name)}\n\n{section.get('description', '')}\n\nOne of {values}.\n")
    return "\n".join(parts)


def heading(name: str) -> str:
    """What a section is called: its model's name without its ending."""
    return name.removesuffix("Spec")


def table(section: Schema, sections: Schema) -> str:
    """One row a field; one that says no more than its section does leaves that to it."""
    required = set(section.get("required", ()))
    rows = []
    for name, field in section["properties"].items():
        below = sections.get(field.get("$ref", "").rpartition("/")[2], {})
        said = field.get("description") or below.get("description", "")
        given = "required" if name in required else default(field)
        rows.append(f"| `{name}` | {kind(field)} | {given} | {cell(said)} |")
    return "\n".join(["| field | takes | default | what it is |", "|---|---|---|---|", *rows, ""])


def kind(field: Schema) -> str:
    """What a field takes, in a few words."""
    if "$ref" in field:
        name = heading(field["$ref"].rpartition("/")[2])
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(kind(each) for each in field["anyOf"]))
    values = field.get("enum", [field["const"]] if "const" in field else [])
    if values:
        return " or ".join(f"`{value}`" for value in values)
    held = {"array": ("a list of", field.get("items", {})), "object": ("a map to", values_of(field))}
    if field.get("type") in held:
        what, inner = held[field["type"]]
        return f"{what} {kind(inner)}"
    return plain(field)


def values_of(field: Schema) -> Schema:
    """The schema of a map's values."""
    more = field.get("additionalProperties")
    if isinstance(more, Mapping):
        return more
    return next(iter(field.get("patternProperties", {}).values()), {})


def plain(field: Schema) -> str:
    """A number, a text or a yes and no, with its bounds."""
    pattern = field.get("pattern", "")
    if "(s|min|h|d)" in pattern:
        return "a duration"
    names = {"number": "a number", "integer": "a whole number", "string": "a text", "boolean": "yes or no"}
    said = names.get(field.get("type", ""), "nothing" if field.get("type") == "null" else "anything")
    above, least = field.get("exclusiveMinimum"), field.get("minimum")
    below, most = field.get("exclusiveMaximum"), field.get("maximum")
    bounds = [f"above {above}" if above is not None else "", f"at least {least}" if least is not None else ""]
    bounds += [f"below {below}" if below is not None else "", f"at most {most}" if most is not None else ""]
    found = ", ".join(bound for bound in bounds if bound)
    return f"{said}, {found}" if found else said


def default(field: Schema) -> str:
    """A field's default as YAML reads it."""
    if "default" not in field:
        return "-"
    return f"`{cell(json.dumps(field['default'], ensure_ascii=False))}`"


def cell(text: str) -> str:
    """Text that stays in its cell."""
    return " ".join(text.replace("|", "\\|").split())


def main() -> None:
    """Write the pages."""
    folder = ROOT / "docs" / "reference"
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, "utf-8")
        sys.stdout.write(f"docs/reference/{name}\n")


if __name__ == "__main__":
    main()
