"""The joint cut of remove, fold and merge: units leave the graph with all that belongs to them.

`joint` repeats one pass over the graph until nothing more is declined. At every node that touches channels
which leave, the rule of its family says what becomes of its constants and attributes (`Work` gathers that), and
what value the channels that leave have at its outputs (`contents`): the nodes that read them add it to their
bias. An operator without a rule declines. To add one, write its rule in the module of its family and enter it
in that module's `RULES`.
"""

from nla.surgery.cutting.joint import Cut, cut
from nla.surgery.cutting.wanted import Wanted, wanted

__all__ = ["Cut", "Wanted", "cut", "wanted"]
