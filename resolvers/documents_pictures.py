"""Who reads a document's pictures, on whose account, and what they have read of it before."""

from dataclasses import dataclass, replace
from typing import Final

from agents.documents.pictures import PictureReader
from agents.ports import Account, Paid
from persistence import documents, documents_work, ledger, model_choices
from persistence.lifecycle.documents import DocumentState
from persistence.tables.documents import DocumentRow
from resolvers.work import WorkResources

LEDGER_GENERATION: Final = 1
"""A document's bytes never change, so a page is read once, however often its ingest begins."""


async def picture_reader(
    resources: WorkResources, document: DocumentRow, *, last_try: bool
) -> PictureReader | None:
    """The reader of the models its course, its organization or the operator chose."""
    async with resources.database.read() as connection:
        chosen = await model_choices.choices_of(
            connection, document.organization_id, document.course_id
        )
    account = Account(
        document.organization_id,
        document.course_id,
        document.id,
        document.uploaded_by,
        chosen,
    )
    return resources.picture_reader(account, DocumentLedger(resources, document), last_try=last_try)


@dataclass(frozen=True)
class DocumentLedger:
    """The `Ledger` of one document."""

    resources: WorkResources
    document: DocumentRow

    async def recall(self, step_key: str, request_hash: str) -> str | None:
        """See `agents.ports.Ledger`. Raises `IngestLost`, so that nothing more is sent then."""
        async with self.resources.database.read() as connection:
            await documents_work.check_held(connection, self.document)
            return await ledger.recall(
                connection, self.document.id, LEDGER_GENERATION, step_key, request_hash
            )

    async def record(self, step_key: str, paid: Paid) -> None:
        """See `agents.ports.Ledger`. What was paid is kept, whoever has the document by now; of one
        that was deleted the figures alone."""
        call = self.resources.call(paid)
        async with self.resources.database.transaction() as connection:
            row = await documents.locked_document(connection, self.document.id)
            there = row is not None and row.state != DocumentState.DELETED
            await ledger.record(
                connection,
                organization_id=self.document.organization_id,
                owner_id=self.document.id,
                generation=LEDGER_GENERATION,
                step_key=step_key,
                call=call if there else replace(call, response=""),
            )
        self.resources.count(paid)
