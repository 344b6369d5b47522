"""Networks as graphs of plain calls: tracing them, their values, their operations, and whether two compute the same."""
