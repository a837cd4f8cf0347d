"""Checksums in the JSON that archives of data give of a record, and in data packages.

- Zenodo and other InvenioRDM: ``files[].key`` (older: ``filename``) and ``checksum``; ``entries`` as list or mapping
- Dataverse's native JSON: ``files[].dataFile`` with ``filename``, ``checksum`` or ``md5``, beside ``directoryLabel``
- Frictionless Data Package: ``resources[].path`` and ``hash`` (Data Resource, "hash": MD5 where it says nothing else)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

from repro.data.sums import Expected, algorithm
from repro.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from repro.digest import Json

_INNER = ("resources", "files", "entries", "data", "latestVersion", "datasetVersion")  # what files lie in
Entry: TypeAlias = tuple[str, str, Expected]  # place in the document, name, checksum


def read_json(text: str, name: str) -> Iterator[Entry]:
    """Yield the checksums of a document, with the place of each; DataError where it is of no kind known here."""
    try:
        document: Json = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError("not JSON", where=f"{name}:{error.lineno}:{error.colno}", why=error.msg) from error
    except RecursionError as error:
        raise DataError(f"{name} is nested too deeply") from error
    found = _files(document)
    if found is None:
        hint = "known are records of Zenodo, InvenioRDM and Dataverse, and datapackage.json"
        raise DataError(f"{name} is no list of files that is known here", hint=hint)
    place, files = found
    for key, file in files:
        where = f"{name}: {place}[{key}]"
        if not isinstance(file, dict):
            raise DataError("not a file", where=where)
        try:
            entry = _entry(file, key if isinstance(key, str) else "")
        except DataError as error:
            error.where = where
            raise
        if entry is not None:
            yield where, *entry


def _files(document: Json) -> tuple[str, list[tuple[int | str, Json]]] | None:
    """Return where in the document the files are, and these, by number or by name."""
    place = ""
    while isinstance(document, dict):
        inner = [(key, document[key]) for key in _INNER if isinstance(document.get(key), list | dict)]
        if not inner:
            return None
        key, found = inner[0]
        if key == "entries" and isinstance(found, dict):
            return f"{place}entries", list(found.items())
        document, place = found, f"{place}{key}."
    return (place.rstrip("."), list(enumerate(document))) if isinstance(document, list) else None


def _entry(file: Mapping[str, Json], key: str) -> tuple[str, Expected] | None:
    """Return name and checksum of a file; None where it has none."""
    inner = file.get("dataFile")
    if isinstance(inner, dict):
        return _dataverse(file, inner)
    if "path" in file:
        return _resource(file)
    name, checksum = file.get("key") or file.get("filename") or key, file.get("checksum")
    if checksum is None:
        return None
    return _text(name, "its name"), _parse(_text(checksum, "checksum"))


def _dataverse(file: Mapping[str, Json], inner: Mapping[str, Json]) -> tuple[str, Expected] | None:
    folder = _text(file.get("directoryLabel") or "", "directoryLabel")
    name = _text(inner.get("filename") or file.get("label"), "filename")
    checksum = inner.get("checksum")
    if isinstance(checksum, dict):
        expected = Expected(algorithm(_text(checksum.get("type"), "type")), _text(checksum.get("value"), "value"))
    elif inner.get("md5"):
        expected = Expected("md5", _text(inner["md5"], "md5"))
    else:
        return None
    return f"{folder}/{name}" if folder else name, expected


def _resource(file: Mapping[str, Json]) -> tuple[str, Expected] | None:
    paths, checksum = file["path"], file.get("hash")
    if checksum is None or (isinstance(paths, list) and len(paths) != 1):
        return None  # one hash over several files is the hash of none
    path = _text(paths[0] if isinstance(paths, list) else paths, "path")
    return None if "://" in path else (path, _parse(_text(checksum, "hash")))


def _parse(text: str) -> Expected:
    """Return a checksum that is MD5 where it does not say another algorithm."""
    return Expected.parse(text if ":" in text else f"md5:{text}")


def _text(value: Json, what: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{what} is missing, or no text")
    return value
