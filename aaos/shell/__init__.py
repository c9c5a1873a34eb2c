"""What stands behind `import aaos` and the command line.

environment  where the servers are      api      the functions a person calls
connection   the container, and errors  handle   a request that goes on
results runs lists   typed answers      explanation status worker_commands   what is shown
"""
