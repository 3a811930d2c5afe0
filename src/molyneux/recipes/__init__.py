"""Whole experiments as data: what is taught, what varies, what is scored, and what the paper found."""
