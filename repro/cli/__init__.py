"""The command line: one file per command, each argument -> api call -> print."""
