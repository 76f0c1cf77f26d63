"""Configuration files for tests, from dictionaries: the standard library reads TOML but does not write it."""

import json
from collections.abc import Mapping
from pathlib import Path


def _value(value: object) -> str:
    """One TOML value; the strings, numbers, booleans and arrays of JSON are TOML's too."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value, ensure_ascii=False)


def toml(settings: Mapping[str, object]) -> str:
    """A document with these settings; `log` and each of `hosts` become tables of their own.

    A value that is not a table where one belongs is written as it is: tests need invalid files too.
    """
    hosts = settings.get("hosts", {})
    assert isinstance(hosts, Mapping)
    tables = {"[log]": settings.get("log")}
    tables |= {f"[hosts.{json.dumps(name)}]": host for name, host in hosts.items()}
    lines = [
        f"{key} = {_value(value)}"
        for key, value in settings.items()
        if key != "hosts" and not (key == "log" and isinstance(value, Mapping))
    ]
    lines += [
        f"hosts.{json.dumps(name)} = {_value(host)}" for name, host in hosts.items() if not isinstance(host, Mapping)
    ]
    for heading, table in tables.items():
        if isinstance(table, Mapping):
            lines += ["", heading, *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def write(path: Path, settings: Mapping[str, object], *, first: str = "") -> Path:
    """Write the settings to `path`, after the line `first` if there is one; replaced in one step."""
    new = path.with_name(path.name + ".new")
    new.write_text(first + toml(settings))
    if path.exists():
        new.chmod(path.stat().st_mode & 0o7777)
    new.rename(path)
    return path
