"""Code that several learners share, besides networks and buffers: actor–critics, stacks, schedules, random streams."""
