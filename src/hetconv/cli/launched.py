"""What the commands that train do under a launcher of many processes."""

from __future__ import annotations


def followed() -> bool:
    """Whether this process was one of a launcher's that follow its first one, and has done so to the end."""
    from hetconv.lab.study import follow, launched_team, world_size

    if world_size() == 1:
        return False
    team = launched_team()
    if team.leads:
        return False
    follow(team)
    return True
