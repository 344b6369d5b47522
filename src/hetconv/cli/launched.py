"""What the commands that train do under a launcher of many processes."""

from __future__ import annotations

import os


def followed() -> bool:
    """Whether this process was one of a launcher's that follow its first one, and has done so to the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return False
    from hetconv.study import follow, launched_team

    team = launched_team()
    if team.leads:
        return False
    follow(team)
    return True
