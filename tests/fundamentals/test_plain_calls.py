"""A decorated tool is still the same function: tests and other code just call it."""

from taskserver import tool


@tool
async def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


@tool(name="glue", timeout=5)
def join(words: list[str]) -> str:
    return " ".join(words)


@tool
class Greeter:
    def run(self, name: str) -> str:
        return f"hello {name}"


async def test_tools_are_called_as_before() -> None:
    assert await double(21) == 42
    assert double.__name__ == "double"
    assert double.__doc__ == "Twice the number."
    assert join(["a", "b"]) == "a b"
    assert Greeter().run("Ada") == "hello Ada"
