"""What models are scored at: each task has its metrics, its run and its page."""
