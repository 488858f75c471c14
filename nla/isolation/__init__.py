"""Work on strangers' files in a child process with limits: a crash or a hang there is one clear line here."""

from nla.isolation.limits import Limits
from nla.isolation.supervisor import run

__all__ = ["Limits", "run"]
