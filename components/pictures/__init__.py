"""Pictures for people: grids, files, animations; no model is opened here."""
