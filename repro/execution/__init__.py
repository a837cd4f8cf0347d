"""Running a plan: keys, records, the scheduler, and one job in its container."""
