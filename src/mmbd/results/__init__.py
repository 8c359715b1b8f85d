"""Results are data: reports and repairs, and where they are kept."""
