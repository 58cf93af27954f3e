"""What a setting costs: memory, steps, waiting and growth."""
