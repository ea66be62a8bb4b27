"""What several learners share beside networks and buffers: actor–critics, members of a stack, schedules, streams."""
