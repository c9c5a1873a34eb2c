"""The embedded stack: Valkey, PostgreSQL, simulated Sovereign, and the supervisor that runs them with the workers."""
