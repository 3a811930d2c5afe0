"""Zero-shot classification of photos, with and without the taught names."""
