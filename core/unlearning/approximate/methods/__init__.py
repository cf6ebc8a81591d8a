"""One file per method: its loss or its edit, and the recipe that puts it to work. The cards stand in `core.methods`."""
