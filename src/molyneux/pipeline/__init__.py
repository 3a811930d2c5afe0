"""From settings to a run folder: the stages, their order, and what survives an interruption."""
