"""From a file back to raw inputs, over the journals of several runs."""

from __future__ import annotations

import json

import pytest

from repro.digest import Digest
from repro.errors import DataError
from repro.events import FileRecord, ImageUsed, InputUsed, JobFinished, JobRecord, Usage, event_json
from repro.provenance.lineage import last_read, why

IMAGE = Digest.of(b"image")
USED = {"time": "t", **event_json(ImageUsed("tools", IMAGE, Digest.of(b"recipe"), (("bwa", "0.7.17-7"),)))}


def file(path, content=None):
    """Return a file of this content (its own path by default)."""
    return FileRecord(path, Digest.of((content or path).encode()), 1, path.endswith("/"))


def done(job, inputs, outputs, at, *, key=None, code=(), image=IMAGE):
    """Return the journal's entry of a finished job; ``at`` is its place in time."""
    record = JobRecord(
        Digest.of((key or job).encode()), {"params": {"n": 1}, "values": {"s": "a"}}, job, job, f"run {job}", "tools",
        image, {"x": tuple(inputs)}, {f"o{index}": item for index, item in enumerate(outputs)}, tuple(code),
        {"cpus": 1}, 0, Usage(1.0, 1.0, 0.0, 1), f"2026-01-{at:02}T00", f"2026-01-{at:02}T01", "host",
    )  # fmt: skip
    return {"time": "t", **event_json(JobFinished(record))}


DIAMOND = [
    USED,
    done("sim", [], [file("g.fa"), file("reads/")], 1, code=[file("sim.py")]),
    done("left", [file("g.fa"), file("raw.txt")], [file("l")], 2),
    done("right", [file("reads/a.fq", "inside"), file("g.fa")], [file("r")], 3),
    done("join", [file("l"), file("r")], [file("all.txt")], 4),
]


def test_chain_from_file_to_raw_inputs():
    """Each job that led to the file is there once, before those that it needs; what nobody made is raw."""
    lineage = why([("r1", DIAMOND)], "all.txt")
    names = [job.job for job in lineage.jobs]
    assert "join" == names[0]
    assert "sim" == names[-1]
    assert {"join", "left", "right", "sim"} == set(names)
    assert 4 == len(names)
    assert ["raw.txt", "sim.py"] == [item.path for item in lineage.raw]
    join = lineage.jobs[0]
    assert [Digest.of(b"left"), Digest.of(b"right")] == [origin.made_by for origin in join.inputs["x"]]
    assert ("run join", IMAGE, {"n": 1, "s": "a"}, "r1") == (join.command, join.image, join.params, join.run)


def test_image_and_packages_are_told():
    """The image comes with its recipe and packages; one that no journal describes, without."""
    lineage = why([("r1", DIAMOND)], "all.txt")
    assert [(IMAGE, Digest.of(b"recipe"), (("bwa", "0.7.17-7"),))] == [
        (image.image, image.recipe, image.packages) for image in lineage.images
    ]
    other = why([("r1", [done("a", [], [file("o")], 1, image=Digest.of(b"x"))])], "o")
    assert [()] == [image.packages for image in other.images]


def test_file_in_a_folder_output():
    """A path inside a folder output stands for that folder, with any digest."""
    assert "sim" == why([("r1", DIAMOND)], "reads/a.fq").jobs[0].job
    assert "reads/" == why([("r1", DIAMOND)], "reads/deep/b.fq", Digest.of(b"whatever")).file.path
    assert "reads/" == why([("r1", DIAMOND)], "reads").file.path


def test_rerun_of_one_job_keeps_to_the_bytes_that_were_read():
    """A job is joined to the maker of the bytes it read, also when its input was made anew since."""
    runs = [
        ("r1", [done("a", [], [file("m", "1")], 1, key="a1"), done("b", [file("m", "1")], [file("o", "1")], 2, key="b1")]),
        ("r2", [done("a", [], [file("m", "2")], 3, key="a2"), done("b", [file("m", "2")], [file("o", "2")], 4, key="b2")]),
    ]  # fmt: skip
    latest, first = why(runs, "o"), why(runs, "o", Digest.of(b"1"))
    assert ["b2", "a2"] == [name for job in latest.jobs for name in ("b2", "a2") if job.key == Digest.of(name.encode())]
    assert [Digest.of(b"b1"), Digest.of(b"a1")] == [job.key for job in first.jobs]
    assert ["r1", "r1"] == [job.run for job in first.jobs]


def test_cached_upstream_is_found_in_an_earlier_run():
    """A job that was cached in this run is found in the run that made it."""
    runs = [("r1", [done("a", [], [file("m")], 1)]), ("r2", [done("b", [file("m")], [file("o")], 2)])]
    assert [("b", "r2"), ("a", "r1")] == [(job.job, job.run) for job in why(runs, "o").jobs]


def test_input_that_was_edited_by_hand_is_raw():
    """Bytes that no job made are a raw input, though a job once made others at that path."""
    runs = [("r1", [done("a", [], [file("m", "1")], 1), done("b", [file("m", "edited")], [file("o")], 2)])]
    lineage = why(runs, "o")
    assert ["b"] == [job.job for job in lineage.jobs]
    assert [file("m", "edited")] == list(lineage.raw)


def test_file_moved_elsewhere_is_found_by_its_bytes():
    """A result that was copied to another name is found by its digest."""
    assert "join" == why([("r1", DIAMOND)], "paper/figure.txt", file("all.txt").digest).jobs[0].job


def test_unknown_file_and_changed_file_are_errors():
    """A file that no job made, and one that was changed since, are told apart."""
    with pytest.raises(DataError, match="no recorded job made or read nothing"):
        why([("r1", DIAMOND)], "nothing.txt")
    with pytest.raises(DataError, match=r"all\.txt is not as any recorded job left it") as caught:
        why([("r1", DIAMOND)], "all.txt", Digest.of(b"edited"))
    assert "join made it as" in str(caught.value)


def test_long_chain():
    """A chain longer than Python's stack is walked."""
    chain = [done("j0", [file("raw")], [file("f0")], 1)]
    chain += [done(f"j{n}", [file(f"f{n - 1}")], [file(f"f{n}")], 1 + n // 100) for n in range(1, 2000)]
    for number, entry in enumerate(chain):
        entry["record"] = {**entry["record"], "started": f"{number:05}a", "ended": f"{number:05}b"}
    lineage = why([("r", chain)], "f1999")
    assert [f"j{n}" for n in range(1999, -1, -1)] == [job.job for job in lineage.jobs]


def test_to_json_can_be_printed():
    """The lineage is plain JSON."""
    document = json.loads(json.dumps(why([("r1", DIAMOND)], "all.txt").to_json()))
    assert "all.txt" == document["file"]["path"]
    assert "join" == document["jobs"][0]["job"]
    assert [["bwa", "0.7.17-7"]] == document["images"][0]["packages"]


def test_raw_input_names_who_read_it():
    """An input that no job made is told with the jobs that read these bytes; with other bytes it is an error."""
    lineage = why([("r1", DIAMOND)], "raw.txt", Digest.of(b"raw.txt"))
    assert (("left",), (), (file("raw.txt"),)) == (lineage.readers, lineage.jobs, lineage.raw)
    assert ("sim",) == why([("r1", DIAMOND)], "sim.py").readers
    with pytest.raises(DataError, match=r"raw\.txt is not as any recorded job read it") as caught:
        why([("r1", DIAMOND)], "raw.txt", Digest.of(b"edited"))
    assert "left read it as" in str(caught.value)


def used(path, uri, content=None, *, version="", fingerprint="sha256"):
    """Return the journal's entry of a declared input."""
    digest = Digest.of((content or path).encode())
    return {"time": "t", **event_json(InputUsed(path, uri, version, digest, 7, 1, fingerprint))}


FAR = [
    (
        "r1",
        [
            used("g.fa", "s3://b/g.fa", version="v1"),
            used("db/", "nfs://s/db/"),
            done("a", [file("g.fa")], [file("x")], 1),
        ],
    ),
    (
        "r2",
        [
            used("g.fa", "https://h/g.fa"),
            used("db/", "nfs://s/db/"),
            done("b", [file("x"), file("g.fa"), file("db/sub/f"), file("own")], [file("y")], 2, code=[file("s.sh")]),
        ],
    ),
]


def test_raw_input_from_elsewhere_shows_where_from():
    """A raw input has the address and version of the run that read it; the project's own have none."""
    lineage = why(FAR, "y")
    assert ["db/sub/f", "g.fa", "own", "s.sh"] == [item.path for item in lineage.raw]
    told = {item.path: [(source.uri, source.version) for source in lineage.sources(item)] for item in lineage.raw}
    both = [("https://h/g.fa", ""), ("s3://b/g.fa", "v1")]
    assert {"db/sub/f": [("nfs://s/db/", "")], "g.fa": both, "own": [], "s.sh": []} == told
    origins = {origin.file.path: origin for job in lineage.jobs if job.job == "b" for origin in job.inputs["x"]}
    assert "https://h/g.fa" == origins["g.fa"].elsewhere.uri
    assert (None, None) == (origins["x"].elsewhere, origins["own"].elsewhere)
    document = json.loads(json.dumps(lineage.to_json()))
    assert ["nfs://s/db/", "https://h/g.fa", "s3://b/g.fa"] == [source["uri"] for source in document["elsewhere"]]


def test_input_from_elsewhere_tells_who_read_it():
    """Asked about itself, it says which jobs read it and where they had it from; what nobody read is unknown."""
    lineage = last_read(FAR, "g.fa")
    assert ("a", "b") == lineage.readers
    assert ["https://h/g.fa", "s3://b/g.fa"] == [source.uri for source in lineage.sources(lineage.file)]
    assert () == last_read(FAR, "own").elsewhere
    assert last_read(FAR, "nobody") is None


def test_asserted_input_is_told_as_such():
    """What stands for the bytes of an input stays with it, and older journals say nothing of it."""
    asserted = FileRecord("db/", Digest.of(b"label"), 0, folder=True, asserted="label")
    entries = [used("db/", "site:nt", "label", fingerprint="label"), done("a", [asserted], [file("x")], 1)]
    raw = why([("r", entries)], "x").raw
    assert ["label"] == [item.asserted for item in raw]
    del entries[1]["record"]["inputs"]["x"][0]["asserted"]
    assert [""] == [item.asserted for item in why([("r", entries)], "x").raw]
