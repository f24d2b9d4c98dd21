"""Where heavy work runs: Ray, on this machine or on a cluster. `ray` is imported in ray_door.py alone."""
