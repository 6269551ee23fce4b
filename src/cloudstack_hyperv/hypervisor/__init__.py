"""How to make a Hyper-V host be as wanted: plan (pure), apply with an undo stack, wait for jobs."""
