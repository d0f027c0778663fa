"""What departments are told: one digest mail per department and run, from a durable outbox.

``outbox`` decides what is due and remembers what happened to it; ``reminders`` adds what time alone brings about
(tickets that fall due, windows that were missed, leases that went stale); ``digest`` gathers the facts of one mail
from the ledger; ``mail`` writes and sends it; ``fix_sheet`` writes the workbook that goes with it.

A mail's life: pending events → claimed (Message-ID committed) → accepted by the server → ``sent_at``. A crash
anywhere repeats the mail with the same Message-ID; a server that is down delays it; nothing is lost.
"""

from guiji.notices.outbox import DepartmentMails, SendRecord, send_notices

__all__ = ["DepartmentMails", "SendRecord", "send_notices"]
