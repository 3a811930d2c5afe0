"""What several rooms' tests share: the tiny models are in `small_models.py`, beside this file."""
