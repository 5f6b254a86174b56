"""Documents on their way to being searchable."""

from enum import StrEnum

from persistence.lifecycle.machine import Machine


class DocumentState(StrEnum):
    UPLOADED = "UPLOADED"
    EXTRACTING = "EXTRACTING"
    CHUNKING = "CHUNKING"
    EMBEDDING = "EMBEDDING"
    READY = "READY"
    REINDEXING = "REINDEXING"
    FAILED = "FAILED"
    NO_TEXT = "NO_TEXT"
    REPLACED = "REPLACED"
    DELETED = "DELETED"


class DocumentEvent(StrEnum):
    EXTRACT = "EXTRACT"
    CHUNK = "CHUNK"
    EMBED = "EMBED"
    INDEXED = "INDEXED"
    REINDEX = "REINDEX"
    FAIL = "FAIL"
    FIND_NO_TEXT = "FIND_NO_TEXT"
    TAKEOVER = "TAKEOVER"
    REPLACE = "REPLACE"
    DELETE = "DELETE"


SEARCHABLE = (DocumentState.READY,)
"""States in which search finds a document."""

READABLE = (*SEARCHABLE, DocumentState.REPLACED)
"""States in which members of the course read a document. What an answer quoted stays readable."""

OVER = (
    DocumentState.FAILED,
    DocumentState.NO_TEXT,
    DocumentState.REPLACED,
    DocumentState.DELETED,
)
"""States in which the same content may come again."""

DOCUMENT = Machine(
    "document",
    DocumentState,
    DocumentEvent,
    DocumentState.UPLOADED,
    {
        (DocumentState.UPLOADED, DocumentEvent.EXTRACT): DocumentState.EXTRACTING,
        (DocumentState.EXTRACTING, DocumentEvent.CHUNK): DocumentState.CHUNKING,
        (DocumentState.CHUNKING, DocumentEvent.EMBED): DocumentState.EMBEDDING,
        (DocumentState.EMBEDDING, DocumentEvent.INDEXED): DocumentState.READY,
        (DocumentState.READY, DocumentEvent.REINDEX): DocumentState.REINDEXING,
        (DocumentState.REINDEXING, DocumentEvent.INDEXED): DocumentState.READY,
        (DocumentState.READY, DocumentEvent.REPLACE): DocumentState.REPLACED,
        (DocumentState.REINDEXING, DocumentEvent.REPLACE): DocumentState.REPLACED,
        (DocumentState.UPLOADED, DocumentEvent.FAIL): DocumentState.FAILED,  # its file never came
        (DocumentState.EXTRACTING, DocumentEvent.FIND_NO_TEXT): DocumentState.NO_TEXT,
        **{
            (s, e): n
            for s in (DocumentState.EXTRACTING, DocumentState.CHUNKING, DocumentState.EMBEDDING)
            for e, n in (
                (DocumentEvent.FAIL, DocumentState.FAILED),
                (DocumentEvent.TAKEOVER, DocumentState.UPLOADED),
            )
        },
        **{
            (s, DocumentEvent.DELETE): DocumentState.DELETED
            for s in DocumentState
            if s is not DocumentState.DELETED
        },
    },
)
