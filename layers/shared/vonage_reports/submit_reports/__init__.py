"""One pass of the control loop: settle, plan, submit."""
