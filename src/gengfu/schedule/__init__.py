"""The schedule: entries, their ticks, and the loop that fires each tick once."""
