"""Run heavy work with Ray, on this machine or on a cluster; only its doors import `ray`."""
