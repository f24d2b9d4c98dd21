"""Pictures for people: grids, files, animations. No model is opened here."""
