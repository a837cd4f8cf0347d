"""`repro registry login | logout | ls`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from repro import api
from repro.cli.arguments import add_json, print_json
from repro.cli.main import Subparser
from repro.errors import UsageError

if TYPE_CHECKING:
    import argparse

_LOGIN_EPILOG = """\
The login is checked with the registry, then kept where docker's and podman's are: beside an older one of the
registry, else in $REGISTRY_AUTH_FILE, else in the first of podman's and docker's files there is, else in
~/.config/containers/auth.json. See docs/reference/registries.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their arguments; Docker's own flags and spellings."""
    commands = parser.add_subparsers(
        dest="action", required=True, metavar="login | logout | ls", parser_class=Subparser
    )
    login = commands.add_parser("login", help="check a user name and a password with a registry, and keep them")
    login.add_argument("registry", metavar="HOST", help="the registry: host or host:port")
    login.add_argument("-u", "--username", metavar="USER", help="the user name (default: it is asked for)")
    password = login.add_mutually_exclusive_group()
    password.add_argument(
        "-p", "--password", metavar="PASSWORD", help="the password, where other users of this host can see it"
    )
    password.add_argument("--password-stdin", action="store_true", help="read the password from stdin")
    login.epilog = _LOGIN_EPILOG
    logout = commands.add_parser("logout", help="forget the login for a registry")
    logout.add_argument("registry", metavar="HOST", help="the registry: host or host:port")
    listing = commands.add_parser("ls", help="list the repositories of a registry, or the tags of a repository")
    listing.add_argument("name", metavar="HOST[/PATH]", help="a registry, or a repository in it")
    add_json(listing)


def run(options: argparse.Namespace) -> int:
    """Do what the subcommand says."""
    host = api.Host.current()
    if options.action == "login":
        _login(host, options)
    elif options.action == "logout":
        places = api.registry_logout(host, options.registry)
        for place in places:
            print(f"forgot the login for {options.registry} in {place}")
        if not places:
            print(f"no login for {options.registry} was known", file=sys.stderr)
    else:
        listing = api.registry_listing(host, options.name)
        if options.json:
            print_json(listing)
        else:
            for name in listing.names:
                print(name)
    return 0


def _login(host: api.Host, options: argparse.Namespace) -> None:
    if options.password is not None:
        print(
            "warning: a password on the command line is seen by other users; prefer --password-stdin", file=sys.stderr
        )
    user = options.username or _asked_user(options)
    password = options.password if options.password is not None else _asked_password(options)
    kept = api.registry_login(host, options.registry, user, password)
    if not kept.checked:
        print(f"warning: {kept.registry} asked for no login, so it was not checked", file=sys.stderr)
    print(f"logged in to {kept.registry} as {user}; kept in {kept.kept}")


def _asked_user(options: argparse.Namespace) -> str:
    """Return the user name that the person at the terminal types."""
    if options.password_stdin or not sys.stdin.isatty():
        raise UsageError("the user name is not known", hint="name it with -u USER")
    print(f"user name for {options.registry}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _asked_password(options: argparse.Namespace) -> str:
    """Return the password: from stdin without the end of its line, or as the person types it, unseen."""
    if options.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UsageError("the password is not known", hint="pass it with --password-stdin")
    import getpass  # noqa: PLC0415 - only where somebody is asked

    return getpass.getpass(f"password for {options.registry}: ")
