"""Use cases: one verb per module, one public function. They know ports, never adapters."""
