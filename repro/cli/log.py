"""`repro log`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, print_json, print_table, print_text
from repro.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

_EPILOG = """\
  repro log                             the runs, newest first
  repro log last                        the jobs of the last run; an ID, or the start of one, names another
  repro log last 'align[sample=a]'      what a job printed
  repro log --follow                    the run that is going on, as things happen
  repro log --follow last align         what a job prints, until it ends
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    parser.add_argument("run", nargs="?", metavar="RUN", help="show the jobs of this run (an ID, or `last`)")
    parser.add_argument("job", nargs="?", metavar="JOB", help="print what this job printed")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as long as the run (or the job) does")
    parser.add_argument(
        "--file", dest="workflow", metavar="WORKFLOW", help="the workflow file (default: workflow.yaml)"
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the project's runs, newest first, or one run's jobs in the order they ended, or one job's log."""
    host = api.Host.current()
    if options.json and (options.follow or options.job):
        raise UsageError("--json is for lists of runs and of jobs", hint="leave it out")
    if options.job:
        _print_log(host, options)
    elif options.follow:
        _follow(host, options)
    elif options.run is None:
        _print_runs(host, options)
    else:
        _print_jobs(host, options)
    return 0


def _print_runs(host: api.Host, options: argparse.Namespace) -> None:
    runs = api.runs(host, options.workflow)
    if options.json:
        print_json(runs)
        return
    rows = [(run.run, run.status, run.started, str(run.ran), str(run.cached), str(run.failed)) for run in runs]
    print_table(("run", "status", "started", "ran", "cached", "failed"), rows)


def _print_jobs(host: api.Host, options: argparse.Namespace) -> None:
    jobs = api.run_jobs(host, options.workflow, options.run)
    if options.json:
        print_json(jobs)
        return
    lines = [
        (job.job, job.state, f"{job.wall:.1f} s" if job.wall is not None else "", job.note.partition("\n")[0])
        for job in jobs
    ]
    print_table(("job", "status", "wall", "note"), lines)


def _print_log(host: api.Host, options: argparse.Namespace) -> None:
    if options.follow:
        for line in api.follow_log(host, options.workflow, options.run, options.job):
            print_text(line)
        return
    log = api.job_log(host, options.workflow, options.run, options.job)
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            print_text(line.removesuffix("\n"))


def _follow(host: api.Host, options: argparse.Namespace) -> None:
    for entry in api.follow_run(host, options.workflow, options.run or "last"):
        text = _entry_text(entry)
        if text:
            print_text(f"{_clock(entry)} {text}")


def _entry_text(entry: Mapping[str, object]) -> str:
    """Return what a line of the journal tells; empty where it is of no interest here."""
    job = entry.get("job")
    match entry["kind"]:
        case "run-started":
            return f"run {entry['run']}: {entry['workflow']}, {entry['jobs']} jobs"
        case "jobs-added":
            return f"{entry['jobs']} more jobs"
        case "job-started":
            return f"{job}: started ({entry['why']})"
        case "job-finished":
            record = entry["record"]
            assert isinstance(record, dict)
            return f"{record['job']}: done in {record['usage']['wall']:.1f} s"
        case "job-retried":
            return f"{job}: failed at attempt {entry['attempt']}, another one comes"
        case "job-failed":
            return f"{job}: failed, log: {entry['log']}"
        case "job-skipped":
            return f"{job}: skipped, {entry['because']} failed"
        case "notice":
            return str(entry["text"])
        case "run-finished":
            counts = ", ".join(f"{entry[name]} {name}" for name in ("ran", "cached", "failed", "skipped"))
            return f"{entry['status']}: {counts}"
        case _:
            return ""


def _clock(entry: Mapping[str, object]) -> str:
    return datetime.fromisoformat(str(entry["time"])).astimezone().strftime("%H:%M:%S")
