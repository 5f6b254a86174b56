"""The API's spelling of our names."""


def camel_case(name: str) -> str:
    """`role_grant_id` as `roleGrantId`."""
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
