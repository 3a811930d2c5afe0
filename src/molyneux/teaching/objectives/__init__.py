"""The objectives, one file each; `teaching.choices.OBJECTIVES` lists them."""
