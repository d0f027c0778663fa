"""Every error guiji raises, in one tree. The last sentence of a message says what holds now and what to do.

Messages never carry a personal value: mask it with ``guiji.masking.mask`` before it gets here. What a refusal quotes of
a delivery (names of files, sheets and columns) is scrubbed here.
Two families matter to a scheduler: ``retryable`` errors may pass by themselves, the others need a person.
"""

from __future__ import annotations

from typing import ClassVar

from guiji.masking import scrub


class GuijiError(Exception):
    """Root of the tree. Ids are attributes, given as keywords and kept in ``context``."""

    exit_code: ClassVar[int] = 4
    retryable: ClassVar[bool] = False
    #: who has to act: ``ours``, ``department`` or ``front_end`` (domain §7: responsibility is attributed)
    responsible: ClassVar[str] = "ours"
    #: short stable word for grouping failures by root cause
    cause: ClassVar[str] = "internal"

    def __init__(self, message: str, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.context = context

    def __str__(self) -> str:
        return self.message


class UsageError(GuijiError):
    """The command or setting is wrong; nothing was done."""

    exit_code = 2
    cause = "usage"


class CatalogError(UsageError):
    """A catalog file is wrong. ``problems`` holds one ``catalog.Problem`` per place."""

    cause = "catalog"

    def __init__(self, message: str, problems: tuple[object, ...] = (), **context: object) -> None:
        super().__init__(message, **context)
        self.problems = problems


class SourceUnavailable(GuijiError):
    """The source can't be reached or broke off; a later try may succeed."""

    exit_code = 3
    retryable = True
    responsible = "front_end"
    cause = "source_unavailable"


class SourceRefused(GuijiError):
    """The source refuses us (password, host key, permission); trying again changes nothing."""

    exit_code = 5
    responsible = "front_end"
    cause = "source_refused"


class NothingDelivered(SourceUnavailable):
    """No delivery is there yet for this window."""

    responsible = "department"
    cause = "nothing_delivered"


class DeliveryRefused(GuijiError):
    """The delivery as a whole can't be accepted (missing column, half a file, wrong encoding, empty).

    ``rule_id`` names the broken demand; the old data goes on serving.
    """

    exit_code = 1
    responsible = "department"
    cause = "delivery_refused"

    def __init__(self, message: str, *, rule_id: str = "delivery.structure", **context: object) -> None:
        super().__init__(scrub(message), rule_id=rule_id, **context)
        self.rule_id = rule_id


class LeaseLost(GuijiError):
    """A newer run of the resource holds the lease; this one published nothing."""

    exit_code = 0
    cause = "superseded"


class WarehouseUnavailable(GuijiError):
    """The warehouse can't be reached; nothing was published."""

    exit_code = 3
    retryable = True
    cause = "warehouse_unavailable"


class AccountingError(GuijiError):
    """The equation of a batch doesn't hold; the publish was rolled back."""

    cause = "accounting"
