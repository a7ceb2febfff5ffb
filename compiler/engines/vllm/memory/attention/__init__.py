"""What attention takes of a rank, kind by kind, and together at every stage of a start-up."""
