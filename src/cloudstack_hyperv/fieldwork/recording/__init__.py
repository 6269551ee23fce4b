"""WS-Man exchanges in one file that can be given away: no secret, no name of the recorded site."""
