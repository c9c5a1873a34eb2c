"""The command line: `aaos …`, `python -m aaos.cli …`, `./run aaos …`.

Each command is thin: it calls what `import aaos` calls, and shows it as a table or as JSON.

Exit status: 0 done · 1 an error, named on stderr in one line · 2 wrong usage · 3 waiting took too long (the run goes
on) · 4 the run waited for failed or was skipped · 130 interrupted.
"""
