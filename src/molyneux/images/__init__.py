"""Where training images come from: inversion, a folder, a generator, or a control."""
